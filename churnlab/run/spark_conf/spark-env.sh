# Put into the environment's PySpark by `churnlab setup`; every Spark of this environment reads it,
# so notebooks, spark-submit and tests need no JAVA_HOME of their own.
if ! grep -qs '^JAVA_VERSION="17[."]' "${JAVA_HOME:-}/release"; then
  JAVA_HOME=@JAVA_HOME@
fi
PYSPARK_PYTHON="${PYSPARK_PYTHON:-@PYTHON@}"
# A laptop changes networks; Spark talks to itself.
SPARK_LOCAL_IP="${SPARK_LOCAL_IP:-127.0.0.1}"
# The classes of Spark, ready to be mapped: they fit one Java, and a Java dies of half a file. One
# that does not fit the jars is left alone, and nobody needs to hear of it.
if [ "${JAVA_HOME%/}" = @ARCHIVE_JAVA@ ] && [ -f @ARCHIVE@ ] &&
  [ "$(wc -c < @ARCHIVE@)" -eq @ARCHIVE_SIZE@ ]; then
  SPARK_SUBMIT_OPTS=@ARCHIVE_OPTION@" -Xlog:cds*=off ${SPARK_SUBMIT_OPTS:-}"
fi
