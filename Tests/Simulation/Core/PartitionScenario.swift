import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What one seed determines of a cluster: its masters, its policy, and what goes wrong with one master while the others go
/// on.
struct PartitionScenario {
    enum Fault {
        /// Connections break, and none can be opened.
        case dead(master: Int)
        /// What arrives is answered when it is over.
        case paused(master: Int)
        /// All that it had is gone, and its connections break.
        case forgets(master: Int)
        /// One replica cannot reach it.
        case cutOff(master: Int, replica: Int)
        /// Connections break once: its slots have moved, or it was replaced by a copy that has everything.
        case moves(master: Int)
        /// It turns batches away before they run, by chance: it has no room, or no script.
        case refuses(master: Int)
        /// Some of its partitions are not answered until it is over, while the others are: their slots are being moved.
        case hangs(master: Int, partitions: UInt64)
        /// A partition's slot goes to the next master, which batches find out on their way.
        case migrates(master: Int, partition: Int)
    }

    struct Episode {
        var fault: Fault
        var startNs: Int64
        var endNs: Int64

        var master: Int {
            switch fault {
            case .dead(let master), .paused(let master), .forgets(let master), .cutOff(let master, _),
                .moves(let master), .refuses(let master), .hangs(let master, _), .migrates(let master, _):
                master
            }
        }

        /// Whether it may disturb the counting of a partition that was at these masters.
        func disturbs(_ partition: Int, at masters: Set<Int>) -> Bool {
            switch fault {
            case .hangs(let master, let partitions): masters.contains(master) && partitions >> partition & 1 == 1
            case .migrates: false
            case .dead, .paused, .forgets, .cutOff, .moves, .refuses: masters.contains(master)
            }
        }
    }

    static let budgetMs: Int64 = 20
    /// All faults have ended by then.
    static let calmNs: Int64 = 4_000_000_000
    /// From here on everything is shared again: see `SimulationScenario.healedNs`.
    static let healedNs: Int64 = calmNs + 6_700_000_000
    static let endNs: Int64 = healedNs + 1_500_000_000
    /// A window of this length is open throughout.
    static let longSeconds: Int64 = 3_600
    static let shortSeconds: Int64 = 3

    let masters: Int
    let partitions: Int
    let replicas: Int
    let grants: Int
    let episodes: [Episode]
    /// The shared counter of tool `t` and the grants' own; then the same two that are never full.
    let shared: Limit
    let own: Limit
    let wide: Limit
    let wideOwn: Limit
    let pauseNs: Int64
    let hearsChanges: Bool
    /// Whether checks of many grants come at once, now and then.
    let hasBursts: Bool

    init(_ random: inout SeededRandom) {
        masters = Int.random(in: 2...3, using: &random)
        partitions = Int.random(in: masters...(random.once(in: 2) ? 6 : 24), using: &random)
        replicas = Int.random(in: 2...3, using: &random)
        grants = Int.random(in: 1...(random.once(in: 2) ? 8 : 40), using: &random)
        hasBursts = random.once(in: 2)
        hearsChanges = !random.once(in: 3)
        pauseNs = Int64.random(in: 40_000_000...150_000_000, using: &random)
        shared = limit(
            "shared", max: Int64.random(in: 1...60, using: &random), per: Self.shortSeconds, scope: .global)
        own = limit("own", max: Int64.random(in: 1...20, using: &random), per: Self.shortSeconds)
        wide = limit("wide", max: 1_000_000_000, per: Self.longSeconds, scope: .global)
        wideOwn = limit("wide_own", max: 1_000_000_000, per: Self.longSeconds)
        var episodes: [Episode] = []
        for _ in 0..<(random.once(in: 4) ? 0 : Int.random(in: 1...3, using: &random)) {
            let master = Int.random(in: 0..<masters, using: &random)
            let startNs = Int64.random(in: 200_000_000...(Self.calmNs - 500_000_000), using: &random)
            let endNs = min(Self.calmNs, startNs + Int64.random(in: 5_000_000...1_500_000_000, using: &random))
            let fault: Fault =
                switch random.next() % 12 {
                case 0, 1: .dead(master: master)
                case 2, 3: .paused(master: master)
                case 4: .forgets(master: master)
                case 5, 6: .cutOff(master: master, replica: Int.random(in: 0..<replicas, using: &random))
                case 7: .moves(master: master)
                case 8: .refuses(master: master)
                case 9, 10: .hangs(master: master, partitions: random.next() | random.next())
                default: .migrates(master: master, partition: Int.random(in: 0..<partitions, using: &random))
                }
            episodes.append(Episode(fault: fault, startNs: startNs, endNs: endNs))
        }
        self.episodes = episodes
    }

    var policy: Policy { StoreModel.policy([own, shared, wide, wideOwn]) }

    /// Whether some data was lost, so that sums need not agree.
    var losesData: Bool { episodes.contains { if case .forgets = $0.fault { true } else { false } } }
}
