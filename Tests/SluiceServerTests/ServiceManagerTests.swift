import Foundation
import NIOCore
import NIOPosix
import Support
import Testing

@testable import SluiceServer

@Suite struct ServiceManagerTests {
    @Test func theWatchdogMayBeForAnother() throws {
        let watchdogNs = { (variables: [String: String]) in
            try ServiceManager(
                environment: variables.merging(["NOTIFY_SOCKET": "/n"]) { $1 }, processID: 7)?.watchdogNs
        }
        #expect(try watchdogNs(["WATCHDOG_USEC": "5"]) == 5_000)
        #expect(try watchdogNs(["WATCHDOG_USEC": "5", "WATCHDOG_PID": "7"]) == 5_000)
        #expect(try watchdogNs(["WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"]) == nil)
        for wrong in ["0", "-1", "x", "9223372036854775807"] {
            #expect(try watchdogNs(["WATCHDOG_USEC": wrong]) == nil)
        }
        #expect(try watchdogNs([:]) == nil)
    }

    @Test func withoutANameThereIsNone() throws {
        #expect(try ServiceManager(environment: [:]) == nil)
        #expect(try ServiceManager(environment: ["NOTIFY_SOCKET": ""]) == nil)
        #expect(throws: ServiceManager.Failure.self) { try ServiceManager(environment: ["NOTIFY_SOCKET": "relative"]) }
    }

    /// The pings come from the loop: while it hangs there are none.
    @Test func aLoopThatHangsDoesNotPing() async throws {
        let folder = try TemporaryFolder()
        let socket = try NotifySocket(folder.path("n.sock"))
        let manager = try #require(
            try ServiceManager(environment: ["NOTIFY_SOCKET": socket.name, "WATCHDOG_USEC": "2000"]))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        manager.ping(from: loop)
        for count in 1...3 { try await waitUntil("ping \(count)") { socket.hasReceived("WATCHDOG=1") } }
        let goesOn = DispatchSemaphore(value: 0)
        loop.execute { goesOn.wait() }
        // Fifty pings would come in this time.
        try await waitUntil("no more pings come") {
            socket.receive()
            try await Task.sleep(for: .milliseconds(100))
            return socket.receive().isEmpty
        }
        goesOn.signal()
        try await waitUntil("it pings again") { socket.hasReceived("WATCHDOG=1") }
        try await group.shutdownGracefully()
    }
}
