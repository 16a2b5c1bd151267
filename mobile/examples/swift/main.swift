// Never compiled: there was no Swift compiler where it was written, only a grammar (tree-sitter's), which finds no fault with it.
//
// A participant that goes half of the way from the global model to 0.5, and stops after some rounds. It goes on with its state
// file when it is started again.
//
//     make mobile                  writes target/mobile/swift: PetParticipant.swift, and a module map with its header
//     swiftc main.swift PetParticipant.swift -Xcc -fmodule-map-file=PetParticipantFFI.modulemap -lpet_mobile -o take
//     ./take URL STATE-FILE ROUNDS
//
// (On a phone: the file in a folder of the app's own, and a background task that may run for long.)

import Foundation

extension Weights {
    /// The weights as an array. (All platforms that Swift is for have the low byte first.)
    var floats: [Float] {
        precondition(dataType == .f32, "the model has \(dataType)")
        return bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }

    init(floats: [Float]) {
        self.init(dataType: .f32, bytes: floats.withUnsafeBytes { Data($0) })
    }
}

final class HalfWay: Trainer {
    func train(training: Training) throws -> Weights? {
        let length = Int(training.length)
        let before = training.globalModel?.floats ?? [Float](repeating: 0, count: length)
        if before.count != length {
            throw TrainerError.Failed(reason: "a round with other models has begun")
        }
        return Weights(floats: before.map { ($0 + 0.5) / 2 })
    }
}

final class Rounds: Listener {
    let begun = DispatchSemaphore(value: 0)

    func onEvent(event: Event) throws {
        switch event {
        case .modelSent: print("sent a masked model")
        case .roundBegun: begun.signal()
        case .trainerFailed(let reason): print("training failed: \(reason)")
        case .log(let level, let text) where level != .debug: print(text)
        default: break
        }
    }
}

let arguments = CommandLine.arguments
guard arguments.count == 4, let count = Int(arguments[3]), count >= 0 else {
    print("usage: take URL STATE-FILE ROUNDS")
    exit(2)
}
let rounds = Rounds()
do {
    let config = Config(url: arguments[1], stateFile: arguments[2])
    let participant = try Participant(config: config, trainer: HalfWay(), listener: rounds)
    print("participant \(participant.name())")
    // The round that it finds itself in is the first.
    for _ in 0...count { rounds.begun.wait() }
    if let model = try participant.globalModel(timeoutMs: 10_000) {
        print("global model: \(model.floats.prefix(3))")
    }
    try participant.stop()
} catch {
    print(error)
    exit(1)
}
