"""A folder of days in object storage, as `weighbridge export` writes it: each day by way of a folder here.

A file is there in one step, a day when `export.json`, which is written last, names it.
"""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from exporter.clickhouse.days import Day
from weighbridge.commands.bucket import Bucket
from weighbridge.commands.day_folder import DayFolder


class DayBucket(DayFolder):
    def __init__(self, bucket: Bucket, here: Path, kind: str, form: str) -> None:
        """here: an empty folder, with room for a day."""
        super().__init__(here, kind, form)
        self._bucket = bucket
        self.named = bucket.address

    def begin(self) -> None:
        """Learn what is there. Raises CommandError for what is something else's, CommandFailed."""
        about = self._bucket.get(self.about_name)
        if about is not None:
            self.understand(about)

    def _has_files(self, day: date, names: list[str]) -> bool:
        return all(self._bucket.has(f"{day}/{name}") for name in names)

    def _put_in_place(self, fresh: Path, day: Day) -> Day:
        before = self.days.get(str(day.date), {"files": {}})["files"]
        files = self.digests(fresh)
        for name in files:
            self._bucket.put_file(f"{day.date}/{name}", fresh / name)
        shutil.rmtree(fresh)
        self.note(day, files)
        self._bucket.put(self.about_name, self.written())
        for name in before.keys() - files.keys():
            self._bucket.remove(f"{day.date}/{name}")
        return day
