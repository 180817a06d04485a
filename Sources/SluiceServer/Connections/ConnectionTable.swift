/// The connections of one event loop, by slot. A slot becomes free only after every answer pending for it has arrived,
/// so that no answer reaches the slot's next connection.
struct ConnectionTable {
    private struct Slot {
        var connection: (any HostedConnection)?
        /// The same, if it is one of the socket: called by its own type, it takes an answer without a copy.
        var handler: ConnectionHandler?
        var awaited = 0

        init(_ connection: any HostedConnection) {
            self.connection = connection
            handler = connection as? ConnectionHandler
        }
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
            slots[slot] = Slot(connection)
            return slot
        }
        slots.append(Slot(connection))
        return slots.count - 1
    }

    mutating func remove(_ slot: Int) {
        guard slots[slot].connection != nil else { return }
        slots[slot].connection = nil
        slots[slot].handler = nil
        count -= 1
        if slots[slot].awaited == 0 { free.append(slot) }
    }

    mutating func expectAnswer(_ slot: Int) { slots[slot].awaited += 1 }

    /// Records an answer for the slot, whose connection may no longer be there.
    mutating func noteAnswer(_ slot: Int) {
        slots[slot].awaited -= 1
        if slots[slot].connection == nil && slots[slot].awaited == 0 { free.append(slot) }
    }

    subscript(slot: Int) -> (any HostedConnection)? { slots[slot].connection }

    /// The connection, if it is one of the socket.
    func handler(_ slot: Int) -> ConnectionHandler? { slots[slot].handler }

    var all: [any HostedConnection] { slots.compactMap(\.connection) }

    /// The connections of one of `count` disjoint parts.
    func part(_ part: Int, of count: Int) -> [any HostedConnection] {
        stride(from: part, to: slots.count, by: count).compactMap { slots[$0].connection }
    }
}
