"""A file's content, with what it imports from its folder."""

import hashlib

import pytest

from jaxmeta.rundir.imported_files import files_beside, source_sha256

FILES = {
    "own.py": "import jax\nimport helper\n\ndef make():\n    from parts.maps import wall\n",
    "helper.py": "import os\nimport further\n",
    "further.py": "import helper\nX = 1\n",  # a circle
    "parts/__init__.py": "",
    "parts/maps.py": "from . import colours\nfrom .deep.er import z\n",
    "parts/colours.py": "",
    "parts/deep/er.py": "",
    "unrelated.py": "",
    "jaxmeta.txt": "",
}
IMPORTED = set(FILES) - {"own.py", "unrelated.py", "jaxmeta.txt"}


def write(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "own.py"


def test_a_file_alone_is_its_bytes(tmp_path):
    (tmp_path / "own.py").write_text("import jax\n")
    expected = hashlib.sha256(b"import jax\n").hexdigest()
    assert source_sha256(tmp_path / "own.py") == expected


def test_files_beside_are_found_through_one_another(tmp_path):
    found = files_beside(write(tmp_path))
    assert {file.relative_to(tmp_path).as_posix() for file in found} == IMPORTED


@pytest.mark.parametrize("name", FILES)
def test_what_is_imported_counts_and_nothing_else(tmp_path, name):
    own = write(tmp_path)
    before = source_sha256(own)
    (tmp_path / name).write_text(FILES[name] + "# changed\n")
    assert (source_sha256(own) == before) == (name not in {*IMPORTED, "own.py"})


def test_the_folder_does_not_count(tmp_path):
    found = {source_sha256(write(tmp_path / name)) for name in "ab"}
    assert len(found) == 1
