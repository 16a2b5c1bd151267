// Rounds with a real coordinator, of eight participants in one process: every global model is exactly the mean of what was sent.
// And what goes wrong is told, in words, where it belongs.
//
//     java ... RoundsKt URL FOLDER

import java.io.File
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.random.RandomGenerator
import kotlin.system.exitProcess
import pet.participant.Config
import pet.participant.DataType
import pet.participant.Event
import pet.participant.Listener
import pet.participant.Participant
import pet.participant.ParticipantException
import pet.participant.Settings
import pet.participant.Task
import pet.participant.Trainer
import pet.participant.TrainerException
import pet.participant.Training
import pet.participant.Weights

const val SITES = 8
const val LENGTH = 1000
const val ROUNDS = 3
const val SECONDS = 60L

/** Trains on nothing: each model is new, and random. */
class Site(number: Long, private val ended: LinkedBlockingQueue<Pair<ULong, FloatArray?>>) : Trainer, Listener {
    private val random = RandomGenerator.of("L64X128MixRandom").also { repeat(number.toInt()) { _ -> it.nextLong() } }
    private var trained: FloatArray? = null
    // What it has sent in the round that is on, and in the one before. Both are of the thread that calls it.
    private var sent: FloatArray? = null
    private var before: FloatArray? = null
    @Volatile var models = 0

    override fun train(training: Training): Weights {
        check(training.length == LENGTH.toULong() && training.dataType == DataType.F32 && training.round >= 1u)
        training.globalModel?.let { check(it.floats().size == LENGTH) }
        return weightsOf(FloatArray(LENGTH) { random.nextFloat(-1f, 1f) }.also { trained = it })
    }

    override fun onEvent(event: Event) {
        when (event) {
            is Event.RoundBegun -> { before = sent; sent = null }
            is Event.ModelSent -> { sent = trained; models++ }
            is Event.ModelRejected -> sent = null
            // (It hears of that when the next has begun.)
            is Event.RoundEnded -> ended.put(event.round to before)
            is Event.TrainerFailed -> fail("a trainer has failed: ${event.reason}")
            else -> {}
        }
    }
}

fun fail(text: String): Nothing {
    System.err.println(text)
    exitProcess(1)
}

fun rounds(url: String, folder: File) {
    val ended = LinkedBlockingQueue<Pair<ULong, FloatArray?>>()
    val sites = List(SITES) { Site(it.toLong(), ended) }
    val participants = sites.mapIndexed { i, site -> Participant(Config(url, stateFile = "$folder/$i.state"), site, listener = site) }
    check(participants.map { it.publicKey().toList() }.toSet().size == SITES)
    check(participants.all { it.publicKey().size == 32 })
    val told = sortedMapOf<ULong, MutableList<FloatArray?>>()
    var exact = 0
    while (exact < ROUNDS) {
        val (round, model) = ended.poll(SECONDS, TimeUnit.SECONDS) ?: fail("no round has ended for $SECONDS s")
        val all = told.getOrPut(round, ::mutableListOf)
        all.add(model)
        if (all.size < SITES) continue
        val global = participants[exact].globalModel(10_000u)?.floats() ?: fail("there is no global model after round $round")
        // (Who was stopped for long meanwhile may have the model of a later round.)
        if (ended.any { it.first > round }) continue
        val models = all.filterNotNull()
        checkMean(global, models)
        println("round $round: the global model is exactly the mean of ${models.size} models")
        exact++
    }
    val view = participants[0].view()
    check(view.rounds >= ROUNDS.toULong() && view.length == LENGTH.toULong() && view.dataType == DataType.F32) { "$view" }
    participants.forEach { it.stop() }
    check(sites.sumOf { it.models } >= 3 * ROUNDS)
    // One goes on with its file, which is for nobody else.
    val file = File("$folder/0.state").toPath()
    check(PosixFilePermissions.toString(Files.getPosixFilePermissions(file)) == "rw-------")
    Participant(Config(url, stateFile = file.toString()), sites[0]).use {
        check(it.publicKey().contentEquals(participants[0].publicKey())) { "it is another participant" }
    }
    participants.forEach { it.close() }
}

/** What participants' listener is told of a trainer that does this. (As many as a round needs.) */
fun failure(url: String, train: (Training) -> Weights?): String {
    val reasons = LinkedBlockingQueue<String>()
    val listener = object : Listener {
        override fun onEvent(event: Event) {
            if (event is Event.TrainerFailed) reasons.offer(event.reason)
            error("a bug of the app's")
        }
    }
    val trainer = object : Trainer {
        override fun train(training: Training) = train(training)
    }
    val participants = List(SITES) { Participant(Config(url), trainer, listener = listener) }
    val reason = reasons.poll(SECONDS, TimeUnit.SECONDS) ?: fail("nobody is told that a trainer has failed")
    participants.forEach { it.close() }
    return reason
}

inline fun <reified E : ParticipantException> refused(words: String, action: () -> Unit) {
    try {
        action()
    } catch (error: ParticipantException) {
        check(error is E) { "${E::class} is expected, and this came: $error" }
        check(words in error.message!!) { "no word of $words: ${error.message}" }
        return
    }
    fail("${E::class} is expected, and nothing came")
}

fun wrong(url: String, folder: File) {
    val absent = object : Trainer {
        override fun train(training: Training): Weights? = null
    }
    refused<ParticipantException.Config>("URL") { Participant(Config("nowhere"), absent) }
    refused<ParticipantException.Config>("scalar") { Participant(Config(url, settings = Settings(scalar = -1.0)), absent) }
    refused<ParticipantException.Config>("threads") { Participant(Config(url, threads = 0u), absent) }
    refused<ParticipantException.Config>("PEM") { Participant(Config(url, authorities = "none".toByteArray()), absent) }
    refused<ParticipantException.State>("a new participant") { Participant(Config(url), absent, "no state".toByteArray()) }
    refused<ParticipantException.System>("$folder/none") { Participant(Config(url, stateFile = "$folder/none/state"), absent).stop() }
    val stopped = Participant(Config(url), absent)
    val state = stopped.save()
    for (call in listOf({ stopped.stop() }, { stopped.save() }, { stopped.view() }, { stopped.globalModel(1u) })) {
        refused<ParticipantException.Stopped>("make a new one") { call() }
    }
    Participant(Config(url), absent, state).use { check(it.publicKey().contentEquals(stopped.publicKey())) }
    Participant(Config("http://127.0.0.1:1"), absent).use {
        refused<ParticipantException.Coordinator>("") { it.globalModel(10_000u) }
        check(it.view().task == Task.IDLE && it.view().length == null)
    }

    // (A listener of these throws whatever it is told.)
    check("no data" in failure(url) { throw TrainerException.Failed("no data") })
    check("a bug" in failure(url) { error("a bug") })
    // (What JNA writes of it to standard error is meant to be there.)
    check("does not declare" in failure(url) { throw OutOfMemoryError("of the app's") })
    check("$LENGTH" in failure(url) { weightsOf(FloatArray(1)) })
    check("13 bytes" in failure(url) { Weights(DataType.F32, ByteArray(13)) })
    check("NaN" in failure(url) { weightsOf(FloatArray(LENGTH) { Float.NaN }) })
    println("what goes wrong is told")
}

fun main(arguments: Array<String>) {
    val (url, folder) = arguments
    rounds(url, File(folder))
    wrong(url, File(folder))
    println("all that was tried works")
}
