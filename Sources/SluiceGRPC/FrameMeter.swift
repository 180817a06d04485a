/// Measures how much work the bytes of an HTTP/2 connection are before they are read: so much of them is taken as fits
/// into a share. A value-type state machine over the frames' heads; it does not judge them.
struct FrameMeter {
    /// Bytes of the frame, or at first of the preface, whose beginning has been taken.
    private var restBytes = Self.prefaceBytes
    /// What of a frame's head has been taken; its stream is of no interest.
    private var headCount = 0
    private var head: UInt64 = 0
    /// Whether a request ends with the frame.
    private var endsRequest = false
    /// Bytes of frames that are not yet a whole unit of work.
    private var uncountedBytes = 0

    private static let prefaceBytes = 24
    private static let headBytes = 9

    /// Takes bytes from the beginning of what waits: until the share is used, but at least a frame's head with the bytes of
    /// one unit.
    /// - Returns: how many bytes, and how much work they are.
    mutating func take(_ bytes: UnsafeRawBufferPointer, share: Int) -> (count: Int, work: Int) {
        var (count, work) = (0, 0)
        while count < bytes.count {
            if restBytes > 0 {
                if work >= share && count > 0 { break }
                let most = min(max(1, share - work), 1 << 24) * GRPCBounds.bytesPerWork
                let taken = min(restBytes, bytes.count - count, most)
                restBytes -= taken
                count += taken
                uncountedBytes += taken
                work += uncountedBytes / GRPCBounds.bytesPerWork
                uncountedBytes %= GRPCBounds.bytesPerWork
                if restBytes == 0 { work += endFrame() }
                continue
            }
            if headCount == 0 && work >= share && count > 0 { break }
            // Length, type and flags are the first five bytes, and at the top of the first eight.
            if headCount < 8 { head = head << 8 | UInt64(bytes[count]) }
            headCount += 1
            count += 1
            if headCount == Self.headBytes {
                work += GRPCBounds.workPerFrame
                endHead()
                if restBytes == 0 { work += endFrame() }
            }
        }
        return (count, work)
    }

    /// The frame's head is complete: its length, type and flags.
    private mutating func endHead() {
        restBytes = Int(head >> 40)
        let type = UInt8(truncatingIfNeeded: head >> 32)
        endsRequest = (type == Self.data || type == Self.headers) && head >> 24 & Self.endStream != 0
        (head, headCount) = (0, 0)
    }

    /// - Returns: what the call counts that ends with the frame; a call that does not fit is begun in any case.
    private mutating func endFrame() -> Int {
        defer { endsRequest = false }
        return endsRequest ? GRPCBounds.workPerCall : 0
    }

    private static let data: UInt8 = 0
    private static let headers: UInt8 = 1
    private static let endStream: UInt64 = 1
}
