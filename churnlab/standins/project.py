"""The project that the stand-ins keep for whoever names no other."""

PROJECT = "demo"
REGION = "us-central1"
BATCH_ACCOUNT = f"spark-batch@{PROJECT}.iam.gserviceaccount.com"
