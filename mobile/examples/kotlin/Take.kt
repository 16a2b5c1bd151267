// A participant that goes half of the way from the global model to 0.5, and stops after some rounds. It goes on with its state
// file when it is started again.
//
//     make mobile                  writes what is imported here
//     java ... TakeKt URL STATE-FILE ROUNDS
//
// (On a phone: the file in a folder of the app's own, and a service that may run for long.)

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.concurrent.CountDownLatch
import kotlin.system.exitProcess
import pet.participant.Config
import pet.participant.DataType
import pet.participant.Event
import pet.participant.Listener
import pet.participant.LogLevel
import pet.participant.Participant
import pet.participant.ParticipantException
import pet.participant.Trainer
import pet.participant.TrainerException
import pet.participant.Training
import pet.participant.Weights

/** The weights as an array. */
fun Weights.floats(): FloatArray {
    require(dataType == DataType.F32) { "the model has $dataType" }
    val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(buffer.remaining()).also(buffer::get)
}

/** The other way. */
fun weightsOf(floats: FloatArray): Weights {
    val buffer = ByteBuffer.allocate(floats.size * Float.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    buffer.asFloatBuffer().put(floats)
    return Weights(DataType.F32, buffer.array())
}

class HalfWay : Trainer {
    override fun train(training: Training): Weights {
        val length = training.length.toInt()
        val before = training.globalModel?.floats() ?: FloatArray(length)
        if (before.size != length) throw TrainerException.Failed("a round with other models has begun")
        return weightsOf(FloatArray(length) { (before[it] + 0.5f) / 2 })
    }
}

class Rounds(count: Int) : Listener {
    val left = CountDownLatch(count)

    override fun onEvent(event: Event) {
        when (event) {
            is Event.ModelSent -> println("sent a masked model")
            is Event.RoundBegun -> left.countDown()
            is Event.TrainerFailed -> System.err.println("training failed: ${event.reason}")
            is Event.Log -> if (event.level >= LogLevel.INFO) System.err.println(event.text)
            else -> {}
        }
    }
}

fun main(arguments: Array<String>) {
    val count = arguments.getOrNull(2)?.toIntOrNull()
    if (arguments.size != 3 || count == null) {
        System.err.println("usage: take URL STATE-FILE ROUNDS")
        exitProcess(2)
    }
    // The round that it finds itself in is the first.
    val rounds = Rounds(count + 1)
    try {
        val config = Config(url = arguments[0], stateFile = arguments[1])
        Participant(config, HalfWay(), listener = rounds).use { participant ->
            println("participant ${participant.name()}")
            rounds.left.await()
            participant.globalModel(10_000u)?.let { println("global model: ${it.floats().take(3)}") }
            participant.stop()
        }
    } catch (error: ParticipantException) {
        System.err.println(error.message)
        exitProcess(1)
    }
}
