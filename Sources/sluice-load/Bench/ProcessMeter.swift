import Foundation
package import Glibc

/// What other processes use of the machine, by the operating system's own accounting.
package struct ProcessMeter: Sendable {
    package let processes: [pid_t]

    package init(_ processes: [pid_t] = []) { self.processes = processes }

    /// What each process has used of the processor so far, all its threads, user and system, ns; 0 if it is gone.
    package func processorNs() -> [Int64] {
        processes.map { process in
            var clock = clockid_t()
            var time = timespec()
            guard clock_getcpuclockid(process, &clock) == 0, clock_gettime(clock, &time) == 0 else { return 0 }
            return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        }
    }

    /// What each process holds of the memory, bytes; nil if it is gone.
    package func residentBytes() -> [Int64?] {
        processes.map { process in
            guard let status = FileManager.default.contents(atPath: "/proc/\(process)/status") else { return nil }
            let lines = String(decoding: status, as: UTF8.self).split(separator: "\n")
            guard let line = lines.first(where: { $0.hasPrefix("VmRSS:") }) else { return nil }
            return line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int64($0) }.map { $0 * 1024 }
        }
    }
}
