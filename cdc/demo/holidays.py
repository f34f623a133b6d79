"""pure: Polish public holidays, the moving ones included, and working days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

SATURDAY = 5
DAY = timedelta(days=1)
FIRST_FREE_CHRISTMAS_EVE = 2025  # by the act of 6 December 2024


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones and Butcher)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    lag = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * lag) // 451
    month, day = divmod(h + lag - 7 * m + 114, 31)
    return date(year, month, day + 1)


def holidays(year: int) -> dict[date, str]:
    """Every public holiday of a year with its name."""
    sunday = easter(year)
    days = {
        date(year, 1, 1): "Nowy Rok",
        date(year, 1, 6): "Święto Trzech Króli",
        sunday: "Niedziela Wielkanocna",
        sunday + DAY: "Poniedziałek Wielkanocny",
        date(year, 5, 1): "Święto Pracy",
        date(year, 5, 3): "Święto Konstytucji 3 Maja",
        sunday + 49 * DAY: "Zesłanie Ducha Świętego",
        sunday + 60 * DAY: "Boże Ciało",
        date(year, 8, 15): "Wniebowzięcie NMP, Święto Wojska Polskiego",
        date(year, 11, 1): "Wszystkich Świętych",
        date(year, 11, 11): "Narodowe Święto Niepodległości",
        date(year, 12, 25): "Boże Narodzenie (pierwszy dzień)",
        date(year, 12, 26): "Boże Narodzenie (drugi dzień)",
    }
    if year >= FIRST_FREE_CHRISTMAS_EVE:
        days[date(year, 12, 24)] = "Wigilia Bożego Narodzenia"
    return days


def days_between(first: date, last: date) -> Iterator[date]:
    """Each day, both ends included."""
    for n in range((last - first).days + 1):
        yield first + n * DAY


def workdays(first: date, last: date) -> list[date]:
    """Days from Monday to Friday that are no holidays, both ends included."""
    free = {day for year in range(first.year, last.year + 1) for day in holidays(year)}
    return [day for day in days_between(first, last) if day.weekday() < SATURDAY and day not in free]
