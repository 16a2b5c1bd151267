"""Writes zcdp.csv: what PyPI's dp-accounting says about rounds with zero-concentrated privacy, for mask/src/accounting.rs.

    pip install dp-accounting==0.6.0
    python mask/tests/accounting/table.py > mask/tests/accounting/zcdp.csv

Its default orders are few; these lie close together, so that its epsilon is the least there is to seven digits.
"""

import sys

import dp_accounting
import numpy as np
from dp_accounting import rdp

ORDERS = (1 + np.geomspace(0.02, 1e5, 60_000)).tolist()


def epsilon(rho: float, rounds: int, delta: float) -> float:
    accountant = rdp.RdpAccountant(orders=ORDERS)
    accountant.compose(dp_accounting.ZCDpEvent(rho), rounds)
    return accountant.get_epsilon(delta)


def main() -> None:
    out = sys.stdout
    out.write("multiplier_thousandths,rounds,delta,epsilon\n")
    for multiplier in (500, 1000, 2500, 4000, 8000, 10_000, 16_000, 50_000):
        for rounds in (1, 10, 100, 1000):
            for delta in (1e-5, 1e-8):
                rho = 1 / (2 * (multiplier / 1000) ** 2)
                out.write(f"{multiplier},{rounds},{delta!r},{epsilon(rho, rounds, delta):.9g}\n")


if __name__ == "__main__":
    main()
