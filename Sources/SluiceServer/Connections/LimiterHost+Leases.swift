import NIOCore
import SluiceEngine

/// What was charged in Redis ahead of time goes back before the process ends.
extension LimiterHost {
    /// Gives back what was charged in Redis ahead of time, and calls back when that is done or after a moment: what is
    /// left then stays charged until its window ends. No checks come any more.
    func giveBackLeases(_ completion: @escaping () -> Void) {
        guard limiter.leaseCount > 0, limiter.isShared else { return completion() }
        whenGivenBack = completion
        limiter.giveBackLeases(now: SystemClock.now())
        pump()
        reportGivenBack()
        guard whenGivenBack != nil else { return }
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.giveBackLimitNs)) { [self] in
            endGivingBack()
        }
    }

    /// Something may have been given back.
    func reportGivenBack() {
        if whenGivenBack != nil, limiter.hasWrittenBack { endGivingBack() }
    }

    private func endGivingBack() {
        whenGivenBack?()
        whenGivenBack = nil
    }
}
