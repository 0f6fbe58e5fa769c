# Put into the environment's PySpark by `churnlab setup`; every Spark of this environment reads it,
# so notebooks, spark-submit and tests need no JAVA_HOME of their own.
if ! grep -qs '^JAVA_VERSION="17[."]' "${JAVA_HOME:-}/release"; then
  JAVA_HOME=@JAVA_HOME@
fi
PYSPARK_PYTHON="${PYSPARK_PYTHON:-@PYTHON@}"
# A laptop changes networks; Spark talks to itself.
SPARK_LOCAL_IP="${SPARK_LOCAL_IP:-127.0.0.1}"
