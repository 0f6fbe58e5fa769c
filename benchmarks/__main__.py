"""Run every comparison on generated or, if CHURNLAB_RAW_CSV names them, real customers."""

from benchmarks import grid_search

if __name__ == "__main__":
    grid_search.main()
