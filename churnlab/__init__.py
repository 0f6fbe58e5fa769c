"""Tools of the course, a room a purpose; each imports only from those below it.

``cli`` is the command line. ``cloud`` asks Google Cloud, or its stand-ins. ``standins`` are
Google's services and Airflow on this machine; ``author`` makes scripts, exercises and tables of the
notebooks. ``run`` runs notebooks, scripts and pages here. On the ground: ``paths``,
``environment``, ``errors``, ``screen`` and ``pictures``.
"""
