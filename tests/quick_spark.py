"""How the tests start a Spark that lives for a minute or less and runs each plan once.

Measured in processor seconds of a step on 600 customers: preprocessing 12.6 as on a laptop, 9.4 with
the light compiler, 8.1 without compiled plans as well; training 32, 24 and 20.
"""

from churnlab.run.spark_submit import LIGHT_JAVA

QUICK_JAVA = LIGHT_JAVA
# Of few rows that are read once, compiling the plans is what takes long.
UNCOMPILED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
# For `spark-submit --conf`.
QUICK_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": QUICK_JAVA,
} | UNCOMPILED
# For a Java whose command line is another's: Spark takes these properties as settings.
QUICK_JAVA_OPTIONS = " ".join([QUICK_JAVA, *(f"-D{n}={v}" for n, v in UNCOMPILED.items())])
