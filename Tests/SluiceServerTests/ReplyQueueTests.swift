import NIOCore
import SluiceEngine
import SluiceProtocol
import Support
import Testing

@testable import SluiceServer

@Suite struct ReplyQueueTests {
    private let writer = ReplyWriter(version: .resp2)

    private func decision(_ number: Int) -> Decision {
        Decision(verdict: .allow, source: .shared, rule: "/rule/\(number)")
    }

    private func written(_ decision: Decision) -> String {
        var buffer = ByteBuffer()
        writer.writeDecision(decision, to: &buffer)
        return String(buffer: buffer)
    }

    @Test func whatNeedNotWaitGoesStraightOut() {
        var queue = ReplyQueue()
        var output = ByteBuffer()
        queue.append(to: &output) { $0.writeString("one") }
        queue.append(decision(2), writer, to: &output)
        #expect(String(buffer: output) == "one" + written(decision(2)))
        #expect(queue.isEmpty && queue.nextNumber == 0)
    }

    @Test func whatIsBehindAWaitingOneWaits() {
        var queue = ReplyQueue()
        var output = ByteBuffer()
        let number = queue.nextNumber
        queue.reserve(writer)
        queue.append(to: &output) { $0.writeString("two") }
        queue.append(decision(3), writer, to: &output)
        #expect(output.readableBytes == 0 && queue.count == 3)
        queue.fill(number, with: decision(1), to: &output)
        #expect(String(buffer: output) == written(decision(1)) + "two" + written(decision(3)))
        #expect(queue.isEmpty)
    }

    /// A reply is written as the connection wanted it when it asked.
    @Test func aWaitingReplyKeepsItsVersionOfRESP() {
        var queue = ReplyQueue()
        var output = ByteBuffer()
        queue.reserve(ReplyWriter(version: .resp3))
        queue.fill(0, with: decision(1), to: &output)
        #expect(String(buffer: output).hasPrefix("%9\r\n"))
    }

    /// Whatever is asked, and in whatever order answers come: they go out in the order of the requests, each as soon as
    /// all before it are there.
    @Test(arguments: 0..<200)
    func anyOrderOfCompletionKeepsTheOrderOfRequests(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        var queue = ReplyQueue()
        var output = ByteBuffer()
        var sent = ""
        /// What each request is answered by; nil while it waits.
        var answers: [String?] = []
        var released = 0
        var waiting: [(number: UInt32, index: Int)] = []
        for step in 0..<400 {
            switch Int.random(in: 0..<(step < 300 ? 5 : 1), using: &random) {
            case 0 where !waiting.isEmpty:
                let next = waiting.remove(at: Int.random(in: 0..<waiting.count, using: &random))
                if Bool.random(using: &random) {
                    queue.fill(next.number, with: decision(next.index), to: &output)
                    answers[next.index] = written(decision(next.index))
                } else {
                    queue.fill(next.number, to: &output) { $1.writeString("<\(next.index)>") }
                    answers[next.index] = "<\(next.index)>"
                }
            case 0, 1, 2:
                waiting.append((queue.nextNumber, answers.count))
                queue.reserve(writer)
                answers.append(nil)
            case 3:
                queue.append(decision(answers.count), writer, to: &output)
                answers.append(written(decision(answers.count)))
            default:
                queue.append(to: &output) { $0.writeString("<\(answers.count)>") }
                answers.append("<\(answers.count)>")
            }
            while released < answers.count, let answer = answers[released] {
                sent += answer
                released += 1
            }
            #expect(String(buffer: output) == sent)
            #expect(queue.count == answers.count - released)
        }
    }
}
