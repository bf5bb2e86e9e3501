"""The built distributions, and virtual environments in which one is installed."""

import asyncio
import sys
import sysconfig
from pathlib import Path

from tests.support.processes import run


def build(source, to, *arguments):
    checked(sys.executable, "-m", "hatchling", "build", "-d", to, *arguments, cwd=source)


def checked(*command, cwd):
    finished = asyncio.run(run(*command, cwd=cwd))
    assert finished.code == 0, finished


class Installed:
    """A virtual environment with the wheel, and this one's libraries, with or without those of the extras."""

    def __init__(self, path, wheel):
        self.path = path
        self.site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(path)}))
        checked(sys.executable, "-m", "venv", "--without-pip", path, cwd=path.parent)
        pip = (sys.executable, "-m", "pip", "--python", path / "bin" / "python", "--disable-pip-version-check")
        checked(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=path)

    def libraries(self, *left_out):
        directory = self.path / "-".join(["libraries", *left_out])
        directory.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not entry.name.startswith(("veupath_store", "_veupath_store", "__editable__", *left_out)):
                (directory / entry.name).symlink_to(entry)
        (self.site_packages / "libraries.pth").write_text(f"{directory}\n")
        return self

    def script(self, name, module):
        """A library's command, which pip would have written."""
        path = self.path / "bin" / name
        path.write_text(f"#!{self.path / 'bin' / 'python'}\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        path.chmod(0o755)

    async def run(self, command, *arguments, cwd=None, **environment):
        return await run(self.path / "bin" / command, *arguments, cwd=cwd or self.path, **environment)
