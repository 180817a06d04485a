import Logging
import NIOCore
import SluicePolicy

/// What the service manager is told. Nothing is, if there is none.
extension Server {
    /// Shows from now on, until the process ends, that the event loop that serves checks does not hang.
    package func startWatchdog() { configuration.manager?.ping(from: eventLoop) }

    /// The sidecar answers.
    package func notifyReady() async throws {
        guard let manager = configuration.manager else { return }
        let line = try await eventLoop.submit { [self] in
            managerStatus.value.isWanted = true
            managerStatus.value.told = status
            return status
        }.get()
        guard let reason = manager.send(["READY=1", "STATUS=\(line)"], isPatient: true) else { return }
        logger.warning("the service manager cannot be told that sluiced is ready", metadata: ["reason": "\(reason)"])
    }

    /// Tells that files are being read again, reads them, and tells the end of it. Nothing is told before the start is over.
    package func notifyingReload(_ body: () async throws -> Void) async throws {
        let isReady = try await eventLoop.submit { [managerStatus] in managerStatus.value.isWanted }.get()
        if isReady {
            configuration.manager?.send(
                ["RELOADING=1", "MONOTONIC_USEC=\(SystemClock.monotonicNs() / 1000)"], isPatient: true)
        }
        try await body()
        if isReady { try await notifyReady() }
    }

    package func notifyStopping() {
        configuration.manager?.send(["STOPPING=1", "STATUS=draining"], isPatient: true)
    }

    /// Tells the number of policies, and how it counts when that changes. On the event loop.
    func followStatus(_ policies: PolicySet) {
        guard configuration.manager != nil else { return }
        managerStatus.value.policies = policies.policies.count
        host.value.whenNoticed = { [weak self] in self?.tellStatus() }
        tellStatus()
    }

    private func tellStatus() {
        guard managerStatus.value.isWanted, managerStatus.value.told != status else { return }
        managerStatus.value.told = status
        configuration.manager?.send(["STATUS=\(status)"], isPatient: false)
    }

    private var status: String {
        let count = managerStatus.value.policies
        return "counting \(host.value.counting), \(count) \(count == 1 ? "policy" : "policies")"
    }
}

/// The sidecar's state in a line, for a service manager.
struct ManagerStatus {
    /// From when it is ready.
    var isWanted = false
    var told = ""
    var policies = 0
}
