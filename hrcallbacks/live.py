"""What follows a recording while it is made.

A follower is called where records are stored, in the thread that stores them. It raises
nothing: what it has to say is fetched in the training thread.
"""

from hrcallbacks.tensorboard import RunWriter, checked_logdir


class LiveTensorBoard:
    """Writes records for TensorBoard as they are stored.

    Args:
        logdir: The folder.
        per_epoch: Whether epochs are recorded.

    Raises:
        ImportError: If TensorBoard is not installed.
        TypeError: If `logdir` is no path.
        ValueError: If it is a URL.
    """

    def __init__(self, logdir, *, per_epoch):
        self._logdir = checked_logdir(logdir)
        self._per_epoch = per_epoch
        self._run: RunWriter | None = None
        self._failure = None

    def begin(self, reductions):
        """Begins a fit.

        Args:
            reductions: What will be recorded: `Recording.attributes["reductions"]`.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.end()
        self._failure = None
        self._run = RunWriter(self._logdir, reductions, per_epoch=self._per_epoch)

    def add_record(self, row, values):
        """Takes a record: see `RunWriter.add_record`."""
        self._try(lambda run: run.add_record(row, values))

    def end_epoch(self, epoch, logs):
        """Takes an epoch's logs: see `RunWriter.add_epoch`."""
        self._try(lambda run: (run.add_epoch(epoch, logs), run.flush()))

    def end(self):
        """Ends a fit, also one that broke off."""
        self._try(lambda run: run.close())
        self._run = None

    def _try(self, write):
        if self._run is None:
            return
        try:
            write(self._run)
        except Exception as error:
            self._failure = error
            self._run = None

    def news(self):
        """What went wrong since it was last asked, as texts."""
        failure, self._failure = self._failure, None
        if failure is not None:
            yield (
                f"Writing for TensorBoard to {str(self._logdir)!r} stopped: "
                f"{failure!r}. Training and recording go on."
            )
