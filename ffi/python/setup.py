"""Tags the wheel: any Python 3, but one platform, since it carries the shared library.

EDGESLM_PLATFORM names the platform where it is not this machine's, such as manylinux_2_31_aarch64.
"""

import os
import sysconfig

from setuptools import setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel


class PlatformWheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        platform = os.environ.get("EDGESLM_PLATFORM") or sysconfig.get_platform()
        return "py3", "none", platform.replace("-", "_").replace(".", "_")


setup(cmdclass={"bdist_wheel": PlatformWheel})
