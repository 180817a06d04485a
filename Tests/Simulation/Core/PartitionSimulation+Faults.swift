import StoreModel

@testable import SluiceEngine

/// What goes wrong with masters and partitions, and when.
extension PartitionSimulation {
    func master(of partition: Int) -> Int { masters[partition] }

    func active(_ master: Int) -> [PartitionScenario.Fault] {
        scenario.episodes.filter { $0.master == master && $0.startNs <= nowNs && nowNs < $0.endNs }.map(\.fault)
    }

    func isReachable(_ partition: Int, from replica: Int) -> Bool {
        active(master(of: partition)).allSatisfy { fault in
            switch fault {
            case .dead: false
            case .cutOff(_, let other): other != replica
            case .paused, .forgets, .moves, .refuses, .hangs, .migrates: true
            }
        }
    }

    func refuses(_ master: Int) -> Bool {
        active(master).contains { if case .refuses = $0 { true } else { false } }
    }

    func hangs(_ partition: Int) -> Bool {
        active(master(of: partition)).contains {
            if case .hangs(_, let partitions) = $0 { partitions >> partition & 1 == 1 } else { false }
        }
    }

    func isPaused(_ master: Int) -> Bool {
        active(master).contains { if case .paused = $0 { true } else { false } }
    }

    mutating func begin(_ index: Int) {
        let fault = scenario.episodes[index].fault
        say("\(fault) begins")
        switch fault {
        case .paused, .refuses, .hangs: break
        case .migrates(_, let partition):
            masters[partition] = (masters[partition] + 1) % scenario.masters
            pastMasters[partition].insert(masters[partition])
        case .dead(let master), .moves(let master): breakConnections(of: master)
        case .forgets(let master):
            for partition in stores.indices where self.master(of: partition) == master { stores[partition].flush() }
            breakConnections(of: master)
        case .cutOff(let master, let replica): breakConnections(of: master, replica: replica)
        }
    }

    mutating func breakConnections(of master: Int, replica only: Int? = nil) {
        for replica in replicas.indices where only == nil || only == replica {
            for partition in stores.indices
            where self.master(of: partition) == master && connections[replica][partition] != 0 {
                close(replica, partition, "reset")
            }
            pump(replica)
        }
    }

    mutating func end(_ index: Int) {
        let episode = scenario.episodes[index]
        say("\(episode.fault) ends")
        let master = episode.master
        switch episode.fault {
        case .paused, .hangs: break
        case .dead, .forgets, .cutOff, .moves, .refuses, .migrates: return
        }
        // What must still wait is held back again.
        for event in heldBack.removeValue(forKey: master) ?? [] { events.push(event, atNs: nowNs + delay()) }
    }

    mutating func close(_ replica: Int, _ partition: Int, _ reason: String) {
        connections[replica][partition] = 0
        feeds[replica][partition] = false
        replicas[replica].linkClosed(partition, reason: reason, now: reading)
    }
}
