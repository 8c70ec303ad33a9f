"""What a run's environment and method are made from."""

import pytest

import jaxmeta
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError


def test_a_file_that_makes_no_environment_is_named(tmp_path):
    (tmp_path / "env.py").write_text("def make():\n    return 3\n")
    run = Run(env=str(tmp_path / "env.py"), method="rl2", frames=1920)
    with pytest.raises(ConfigError, match=r"must make a jaxmeta\.Env, not int"):
        jaxmeta.make_env(run)
