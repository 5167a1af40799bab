"""What goes into the statistics and what comes out: frozen dataclasses, no computing.

Two rules hold in every type of this package. The decision rule is *accept iff score >= threshold*. A rate is a count
over a total (`Rate`): it always carries both, and intervals where they can be had. `None` means "the data cannot
say"; NaN appears only in input scores, where it means "this comparison failed".

`calibration.Calibration` stands beside the code that makes it.
"""
