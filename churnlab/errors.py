"""The one error that the command line shows without a trace."""


class CourseError(Exception):
    """Something the reader can mend: what is wrong and where, and what to do about it."""

    def __init__(self, problem: str, mend: str = ""):
        super().__init__(problem if not mend else f"{problem}\n{mend}")
        self.problem = problem
        self.mend = mend

    def __reduce__(self):
        """Keep both parts on the way from another process."""
        return type(self), (self.problem, self.mend)
