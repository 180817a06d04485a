import NIOCore
import SluiceEngine
import SluiceProtocol

extension LimiterHost {
    /// A call of `CL.THROTTLE`; nil if its numbers are too large.
    func throttle(_ request: ThrottleRequest, in input: ByteBuffer) -> Throttle? {
        Throttle(
            key: Array(input.bytes(ofArgument: request.key)), maxBurst: request.maxBurst, count: request.countPerPeriod,
            periodSeconds: request.periodSeconds)
    }
}
