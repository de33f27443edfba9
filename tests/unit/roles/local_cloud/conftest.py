from __future__ import annotations

import sys
from pathlib import Path

# The package is run by its role, not installed.
sys.path.insert(0, str(Path(__file__).parents[4] / "roles/local_cloud/files"))
