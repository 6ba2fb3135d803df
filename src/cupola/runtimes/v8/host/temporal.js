// Temporal with a clock that stands still; evaluated in a context of its own.
(function (now) {
  "use strict";
  const instant = () => Temporal.Instant.fromEpochMilliseconds(now());
  const zoned = (zone = "UTC") => instant().toZonedDateTimeISO(zone);
  const answers = {
    timeZoneId: () => "UTC",
    instant,
    zonedDateTimeISO: zoned,
    plainDateTimeISO: (zone) => zoned(zone).toPlainDateTime(),
    plainDateISO: (zone) => zoned(zone).toPlainDate(),
    plainTimeISO: (zone) => zoned(zone).toPlainTime(),
  };
  for (const name of Object.keys(answers)) {
    Object.defineProperty(Temporal.Now, name, {
      value: answers[name], writable: true, configurable: true, enumerable: false,
    });
  }
  return Temporal;
})
