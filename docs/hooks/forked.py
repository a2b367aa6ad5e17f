"""Kernels that are forks of one process, which has imported TensorFlow and Keras.

Why: importing them took as long as all else that most pages do.
"""

import logging
import multiprocessing
import os
import sys
from importlib.metadata import EntryPoint

from ipykernel.kernelapp import launch_new_instance
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

_CONTEXT = multiprocessing.get_context("forkserver")
_NAME = "forked"


def prepare():
    """Has each kernel forked from now on, if its backend is TensorFlow."""
    _CONTEXT.set_forkserver_preload([__name__, "preloaded"])
    point = EntryPoint(_NAME, f"{__name__}:Forked", KernelProvisionerFactory.GROUP_NAME)
    KernelProvisionerFactory.instance().provisioners[_NAME] = point
    os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = _NAME


class Forked(LocalProvisioner):
    """Starts a kernel."""

    async def launch_kernel(self, cmd, *, env, cwd, **options):
        """Starts it in a process of its own; returns how to reach it."""
        if env["KERAS_BACKEND"] != "tensorflow":
            return await super().launch_kernel(cmd, env=env, cwd=cwd, **options)
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        self.process = _Process(target=_run, args=(arguments, dict(env), cwd))
        self.process.start()
        self.pid = self.process.pid
        return self.connection_info


class _Process(_CONTEXT.Process):
    """A process with the interface of `subprocess.Popen` that provisioners use."""

    stdin = stdout = stderr = None

    def poll(self):
        return self.exitcode

    def wait(self):
        self.join()
        return self.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


def _run(arguments, environment, folder):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    # A page trains several models; it advises against a function for each.
    logging.getLogger("tensorflow").setLevel("ERROR")
    ends_with = f"--IPKernelApp.parent_handle={os.getppid()}"
    launch_new_instance(argv=[*arguments, ends_with])
