"""A user's project on the driver's path, and packages that are installed on hosts: written for tests of shipped code."""

import zipfile
from pathlib import Path

_FILES = {
    # A package in a `src` layout, with relative imports and data files that are found through another module.
    "src/shop/__init__.py": "",
    "src/shop/place.py": "from pathlib import Path\n\nHERE = Path(__file__).parent\n",
    "src/shop/nets/__init__.py": "from .sums import Sum\n",
    "src/shop/nets/sums.py": """
        import torch

        class Sum(torch.nn.Module):
            def forward(self, x_BF):
                return x_BF.sum(dim=1, keepdim=True) * 2

        def build(weights, device):
            return Sum()
    """,
    "src/shop/hooks.py": """
        from .place import HERE
        from .rates import RATE

        def mark(row):
            return row | {"mark": f"{RATE} {(HERE / 'word.txt').read_text()}"}
    """,
    "src/shop/rates.py": "RATE = 1\n",
    "src/shop/word.txt": "a",
    "src/shop/late.py": """
        from .place import HERE

        def mark(row):
            return row | {"mark": (HERE / "late.txt").read_text()}
    """,
    "src/shop/late.txt": "late",
    "src/shop/wrapped.py": """
        from functools import partial

        def _mark(row, mark):
            return row | {"mark": mark}

        def marking(mark):
            return partial(_mark, mark=mark)
    """,
    "src/shop/unused.py": "raise AssertionError\n",
    "src/shop/secret.txt": "not named by any code",
    "src/shop/loader.py": """
        from sparktorch_assets.predict.loader import ModelLoader

        class ShopLoader(ModelLoader):
            def load_module(self, task, device):
                network = super().load_module(task, device)
                network.eval()
                return network
    """,
    # A namespace package, a single file, and code that needs a package that the workers do not have.
    "src/acme/tones/hooks.py": "def mark(row):\n    return row | {'mark': 'namespace'}\n",
    "alone.py": "def mark(row):\n    return row | {'mark': 'alone'}\n",
    "needs.py": "import only_here\n\ndef mark(row):\n    return row | {'mark': only_here.NAME}\n",
    # Named like a package that is installed on the workers.
    "rival/__init__.py": "",
    "rival/hooks.py": "def mark(row):\n    return row | {'mark': 'project'}\n",
}


class Project:
    """The project's files, and the folders of three Python paths."""

    TOPS = frozenset(name.removeprefix("src/").partition("/")[0].removesuffix(".py") for name in _FILES) | {"zipped"}

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = [str(root / "project" / place) for place in ("src", "", "zipped.zip")]
        """What the driver's path has of the project."""
        self.on_driver = root / "driver" / "site-packages"
        self.on_workers = root / "worker" / "site-packages"

    def write(self) -> None:
        for name, text in _FILES.items():
            self.edit(name, text)
        with zipfile.ZipFile(self.root / "project" / "zipped.zip", "w") as archive:
            archive.writestr("zipped/__init__.py", "")
            archive.writestr("zipped/hooks.py", "def mark(row):\n    return row | {'mark': 'zipped'}\n")
        for folder, name, text in (
            (self.on_driver, "only_here/__init__.py", "NAME = 'here'\n"),
            (self.on_workers, "rival/__init__.py", ""),
            (self.on_workers, "rival/hooks.py", "def mark(row):\n    return row | {'mark': 'installed'}\n"),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def edit(self, name: str, text: str) -> None:
        lines = text.splitlines()
        indented = lines and not lines[0]
        path = self.root / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line[8:] for line in lines) if indented else text)
