// What a global model must be, exactly: the mean of what encoding makes of the local models (docs/protocol.md), for weights of
// 32-bit floats up to 1 and steps of 1e-10.

import java.math.BigDecimal
import java.math.BigInteger
import java.math.MathContext
import java.math.RoundingMode

private val STEPS = BigDecimal.TEN.pow(10)

/** The number that a weight becomes, with scalar 1. */
fun encode(weight: Float): BigInteger {
    val clamped = BigDecimal(weight.coerceIn(-1f, 1f).toDouble())
    return ((clamped + BigDecimal.ONE) * STEPS).setScale(0, RoundingMode.FLOOR).toBigInteger()
}

/** The mean of some models, each weight the float that is nearest to it. */
fun meanOf(models: List<FloatArray>): FloatArray {
    val count = BigDecimal(models.size)
    return FloatArray(models.first().size) { i ->
        val sum = BigDecimal(models.fold(BigInteger.ZERO) { all, model -> all + encode(model[i]) })
        // (Sixty digits: no sum of so few models comes closer to the middle of two floats without being there.)
        (sum - count * STEPS).divide(count * STEPS, MathContext(60)).toFloat()
    }
}

/** That a model is that mean, and that this would have found one more or one less, and a weight that is off by one place. */
fun checkMean(model: FloatArray, models: List<FloatArray>) {
    check(model.contentEquals(meanOf(models))) { "the global model is not the mean of the ${models.size} models that were sent" }
    check(!model.contentEquals(meanOf(models.drop(1)))) { "it is the mean of fewer models as well" }
    check(!model.contentEquals(meanOf(models + listOf(models.first())))) { "it is the mean of more models as well" }
    val off = model.copyOf().also { it[0] = Math.nextUp(it[0]) }
    check(!off.contentEquals(meanOf(models))) { "a model that is off by one place is taken, too" }
}
