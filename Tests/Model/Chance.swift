package import SluiceEngine

/// What follows from a seed.
extension SeededRandom {
    package mutating func one<Element>(of elements: [Element]) -> Element {
        elements[Int(next() % UInt64(elements.count))]
    }

    /// True once in so many times.
    package mutating func once(in times: UInt64) -> Bool { next() % times == 0 }
}
