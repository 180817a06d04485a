/// The connections of one event loop, by slot. A slot becomes free only after every answer pending for it has arrived,
/// so that no answer reaches the slot's next connection.
struct ConnectionTable {
    private struct Slot {
        var connection: (any HostedConnection)?
        var awaited = 0
    }

    let capacity: Int
    private var slots: [Slot] = []
    private var free: [Int] = []
    private(set) var count = 0

    /// - Parameter capacity: the most connections at once.
    init(capacity: Int) { self.capacity = capacity }

    /// nil if there are too many already.
    mutating func add(_ connection: any HostedConnection) -> Int? {
        guard count < capacity else { return nil }
        count += 1
        if let slot = free.popLast() {
            slots[slot].connection = connection
            return slot
        }
        slots.append(Slot(connection: connection))
        return slots.count - 1
    }

    mutating func remove(_ slot: Int) {
        guard slots[slot].connection != nil else { return }
        slots[slot].connection = nil
        count -= 1
        if slots[slot].awaited == 0 { free.append(slot) }
    }

    mutating func expectAnswer(_ slot: Int) { slots[slot].awaited += 1 }

    /// Records an answer for the slot; returns its connection if it is still there.
    mutating func answered(_ slot: Int) -> (any HostedConnection)? {
        slots[slot].awaited -= 1
        if slots[slot].connection == nil && slots[slot].awaited == 0 { free.append(slot) }
        return slots[slot].connection
    }

    subscript(slot: Int) -> (any HostedConnection)? { slots[slot].connection }

    var all: [any HostedConnection] { slots.compactMap(\.connection) }

    /// The connections of one of `count` disjoint parts.
    func part(_ part: Int, of count: Int) -> [any HostedConnection] {
        stride(from: part, to: slots.count, by: count).compactMap { slots[$0].connection }
    }
}
