import Logging
import NIOCore
import SluicePolicy

/// Messages to the service manager. None are sent if there is none.
extension Server {
    /// Shows from now on, until the process ends, that the event loop that serves checks does not hang.
    package func startWatchdog() { configuration.manager?.ping(from: eventLoop) }

    /// The sidecar answers.
    package func notifyReady() async throws {
        guard let manager = configuration.manager else { return }
        let line = try await eventLoop.submit { [self] in
            managerStatus.value.isWanted = true
            managerStatus.value.sent = status
            return status
        }.get()
        guard let reason = manager.send(["READY=1", "STATUS=\(line)"], isPatient: true) else { return }
        logger.warning("the service manager cannot be told that sluiced is ready", metadata: ["reason": "\(reason)"])
    }

    /// Reads files again, and notifies of the beginning and the end of it, once the start is over.
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

    /// Sends the number of policies, and how it counts when that changes. On the event loop.
    func followStatus(_ policies: PolicySet) {
        guard configuration.manager != nil else { return }
        managerStatus.value.policies = policies.policies.count
        host.value.whenNoticed = { [weak self] in self?.sendStatus() }
        sendStatus()
    }

    private func sendStatus() {
        guard managerStatus.value.isWanted, managerStatus.value.sent != status else { return }
        managerStatus.value.sent = status
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
    /// The last line that was sent.
    var sent = ""
    var policies = 0
}
