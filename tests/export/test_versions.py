import importlib.metadata

import hidenerf
from hidenerf.export.versions import versions


def test_own_version_and_those_of_packages() -> None:
    assert versions(()) == {"hidenerf": hidenerf.__version__}
    assert versions(("numpy",)) == {"hidenerf": hidenerf.__version__, "numpy": importlib.metadata.version("numpy")}
