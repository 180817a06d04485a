import HeapModule

/// Events in order of time, and of insertion for equal times.
struct EventQueue<Event> {
    private struct Entry: Comparable {
        var atNs: Int64
        var number: Int64
        var event: Event

        static func < (one: Entry, other: Entry) -> Bool { (one.atNs, one.number) < (other.atNs, other.number) }
        static func == (one: Entry, other: Entry) -> Bool { one.number == other.number }
    }

    private var heap = Heap<Entry>()
    private var lastNumber: Int64 = 0

    mutating func push(_ event: Event, atNs: Int64) {
        lastNumber += 1
        heap.insert(Entry(atNs: atNs, number: lastNumber, event: event))
    }

    mutating func pop() -> (atNs: Int64, event: Event)? { heap.popMin().map { ($0.atNs, $0.event) } }
}
