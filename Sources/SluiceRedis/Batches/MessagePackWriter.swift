/// Writes the part of MessagePack that the scripts' headers need: arrays, integers and short strings, each in its
/// shortest form. See https://github.com/msgpack/msgpack/blob/master/spec.md
struct MessagePackWriter {
    private(set) var bytes: [UInt8] = []

    /// Empties it and keeps its storage.
    mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    /// Begins an array of `count` values.
    mutating func writeArray(count: Int) {
        if count < 16 {
            bytes.append(0x90 | UInt8(count))
        } else if count <= 0xffff {
            bytes.append(0xdc)
            append(UInt64(count), bytes: 2)
        } else {
            bytes.append(0xdd)
            append(UInt64(count), bytes: 4)
        }
    }

    mutating func write(_ value: Int64) {
        guard value >= 0 else {
            bytes.append(0xd3)
            return append(UInt64(bitPattern: value), bytes: 8)
        }
        if value < 0x80 {
            bytes.append(UInt8(value))
        } else if value <= 0xff {
            bytes.append(0xcc)
            append(UInt64(value), bytes: 1)
        } else if value <= 0xffff {
            bytes.append(0xcd)
            append(UInt64(value), bytes: 2)
        } else if value <= 0xffff_ffff {
            bytes.append(0xce)
            append(UInt64(value), bytes: 4)
        } else {
            bytes.append(0xcf)
            append(UInt64(value), bytes: 8)
        }
    }

    /// A string of at most 65,535 bytes.
    mutating func write(_ text: String) { write(text.utf8) }

    /// The same of bytes that need not be text.
    mutating func write(_ text: some Collection<UInt8>) {
        let count = text.count
        precondition(count <= 0xffff)
        if count < 32 {
            bytes.append(0xa0 | UInt8(count))
        } else {
            bytes.append(0xda)
            append(UInt64(count), bytes: 2)
        }
        bytes.append(contentsOf: text)
    }

    private mutating func append(_ value: UInt64, bytes count: Int) {
        for place in stride(from: (count - 1) * 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(place)))
        }
    }
}
