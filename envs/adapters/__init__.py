"""From and to the environments of other libraries."""
