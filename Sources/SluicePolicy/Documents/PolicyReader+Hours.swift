/// Reads the hours of a tool.
extension PolicyReader {
    private static let daysWords = #"days such as "mon-fri" or "mon,wed,sat-sun""#
    private static let fromWords = #"a time of day such as "09:00""#
    private static let toWords = #"a time of day such as "18:00", at most "24:00""#

    /// `hours` of a tool.
    mutating func hours(of object: inout ObjectReader, action: ToolRule.Action?) -> Hours? {
        guard let node = object.take("hours") else { return nil }
        if action == .deny {
            misplaced(
                node, key: "hours", beside: "with the action \"deny\"",
                expected: "it only with a tool that may be called at some time")
        }
        guard
            var object = document.object(
                node, expected: "hours: an object with \"from\" and \"to\", and \"days\" and \"timezone\" if needed")
        else { return nil }
        let days = object.take("days").map { self.days($0) } ?? Set(Hours.dayNames.indices)
        let from = document.required("from", of: &object, expected: Self.fromWords)
            .flatMap { minute($0, in: 0...1439, expected: Self.fromWords) }
        let toNode = document.required("to", of: &object, expected: Self.toWords)
        let to = toNode.flatMap { minute($0, in: 1...1440, expected: Self.toWords) }
        let zone = object.take("timezone").map { self.zone($0) } ?? .utc
        document.finish(object, PolicyKeys.hours)
        if let from, let to, let toNode, from == to {
            document.unexpected(
                toNode.value.summary, at: toNode, expected: "another time than \"from\" (a whole day is 00:00 to 24:00)"
            )
        }
        guard let days, let from, let to, let zone else { return nil }
        return Hours(days: days, fromMinute: from, toMinute: to, zone: zone)
    }

    private mutating func days(_ node: DocumentNode) -> Set<Int>? {
        guard let text = document.string(node, expected: Self.daysWords) else { return nil }
        if let days = Hours.days(text) { return days }
        document.unexpected(text.quoted, at: node, expected: Self.daysWords)
        return nil
    }

    private mutating func minute(
        _ node: DocumentNode, in range: ClosedRange<Int64>, expected: @autoclosure () -> String
    ) -> Int64? {
        guard let text = document.string(node, expected: expected()) else { return nil }
        if let minute = Hours.minute(text), range.contains(minute) { return minute }
        document.unexpected(text.quoted, at: node, expected: expected())
        return nil
    }
}
