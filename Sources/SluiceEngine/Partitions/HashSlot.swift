/// The slots of a Redis Cluster: each key lies in one, by its tag, and each slot on one master.
///
/// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
package enum HashSlot {
    package static let count = 16_384

    /// The slot of a key whose part in braces is `tag`, from 0: its CRC-16 (XMODEM: polynomial 0x1021, beginning with
    /// 0, not reflected).
    package static func of(tag: some Sequence<UInt8>) -> Int {
        var crc: UInt16 = 0
        for byte in tag {
            crc ^= UInt16(byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
        }
        return Int(crc) % count
    }
}
