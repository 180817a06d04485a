import Foundation
import Glibc

/// The resource use of other processes, as the operating system reports it.
struct ProcessMeter: Sendable {
    let processes: [pid_t]

    init(_ processes: [pid_t] = []) { self.processes = processes }

    /// The processor time of each process so far, all its threads, user and system, ns; 0 if it has ended.
    func processorNs() -> [Int64] {
        processes.map { process in
            var clock = clockid_t()
            var time = timespec()
            guard clock_getcpuclockid(process, &clock) == 0, clock_gettime(clock, &time) == 0 else { return 0 }
            return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        }
    }

    /// The resident memory of each process, bytes; nil if it has ended.
    func residentBytes() -> [Int64?] {
        processes.map { process in
            guard let status = FileManager.default.contents(atPath: "/proc/\(process)/status") else { return nil }
            let lines = String(decoding: status, as: UTF8.self).split(separator: "\n")
            guard let line = lines.first(where: { $0.hasPrefix("VmRSS:") }) else { return nil }
            return line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int64($0) }.map { $0 * 1024 }
        }
    }
}
