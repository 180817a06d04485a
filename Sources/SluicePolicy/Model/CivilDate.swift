/// Days of the proleptic Gregorian calendar, counted from 1970-01-01, with integer arithmetic only.
///
/// The algorithms are Howard Hinnant's `days_from_civil` and `civil_from_days`
/// (https://howardhinnant.github.io/date_algorithms.html): years are taken to begin in March, so that the leap day is
/// the last of its year, and 400 of them (an era of 146,097 days) repeat exactly.
package enum CivilDate {
    private static let daysPerEra: Int64 = 146_097
    /// From 0000-03-01, where era 0 begins, to 1970-01-01.
    private static let daysBeforeEpoch: Int64 = 719_468

    /// The first day of a month. Months are counted from January of the year 0, which is month 0.
    package static func firstDay(ofMonth month: Int64) -> Int64 {
        // March is 0 and begins the year.
        let monthFromMarch = floorModulo(month - 2, 12)
        let year = floorDivide(month - 2, 12)
        let era = floorDivide(year, 400)
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * monthFromMarch + 2) / 5
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * daysPerEra + dayOfEra - daysBeforeEpoch
    }

    /// The month of a day, counted as in `firstDay(ofMonth:)`.
    package static func month(ofDay day: Int64) -> Int64 {
        let shifted = day + daysBeforeEpoch
        let era = floorDivide(shifted, daysPerEra)
        let dayOfEra = shifted - era * daysPerEra
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        return (era * 400 + yearOfEra) * 12 + monthFromMarch + 2
    }
}

/// The quotient rounded down, where Swift's `/` rounds towards zero.
func floorDivide(_ dividend: Int64, _ divisor: Int64) -> Int64 {
    let quotient = dividend / divisor
    return dividend % divisor < 0 ? quotient - 1 : quotient
}

/// The remainder for `floorDivide`: never below 0.
func floorModulo(_ dividend: Int64, _ divisor: Int64) -> Int64 {
    let remainder = dividend % divisor
    return remainder < 0 ? remainder + divisor : remainder
}
