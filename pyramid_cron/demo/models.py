"""What the shop keeps in its own database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from sqlalchemy import DateTime, Dialect, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

STOCK_AT_FIRST = 12
"""Pieces of each product that an empty shop opens with."""

PRODUCTS = {"Lamp": 49_00, "Chair": 89_00, "Table": 240_00, "Rug": 120_00, "Shelf": 75_00}
"""What the shop sells, with prices in cents."""


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC: SQLite itself knows no zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return what the database keeps."""
        return value and value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        return value and value.replace(tzinfo=timezone.utc)


class Base(DeclarativeBase):
    """The shop's tables."""


class Product(Base):
    """Something to buy; ``stock`` is what is neither sold nor in somebody's cart."""

    __tablename__ = "product"

    name: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]
    stock: Mapped[int]


class Cart(Base):
    """A customer's cart, last ``touched`` then: open at first, in the end ordered or expired."""

    __tablename__ = "cart"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    touched: Mapped[datetime] = mapped_column(Moment, index=True)
    state: Mapped[str] = mapped_column(default="open", index=True)
    lines: Mapped[list[Line]] = relationship(cascade="all, delete-orphan")

    @property
    def pieces(self) -> int:
        """How many pieces are in it."""
        return sum(line.pieces for line in self.lines)

    @property
    def cents(self) -> int:
        """What they cost together."""
        return sum(line.pieces * line.product.cents for line in self.lines)


class Line(Base):
    """So many pieces of one product in one cart."""

    __tablename__ = "line"

    cart_id: Mapped[int] = mapped_column(ForeignKey("cart.id"), primary_key=True)
    product_name: Mapped[str] = mapped_column(ForeignKey("product.name"), primary_key=True)
    pieces: Mapped[int]
    product: Mapped[Product] = relationship()


class Sales(Base):
    """What was ordered in the hour that began at ``hour``."""

    __tablename__ = "sales"

    hour: Mapped[datetime] = mapped_column(Moment, primary_key=True)
    orders: Mapped[int]
    cents: Mapped[int]


class Mail(Base):
    """A mail in the shop's outbox."""

    __tablename__ = "mail"

    id: Mapped[int] = mapped_column(primary_key=True)
    written: Mapped[datetime] = mapped_column(Moment)
    subject: Mapped[str]
    body: Mapped[str]


def open_shop(session: Session) -> None:
    """Fill the shelves of a shop that has no products yet."""
    session.add_all(
        Product(name=name, cents=cents, stock=STOCK_AT_FIRST) for name, cents in PRODUCTS.items()
    )


def put_back(lines: Iterable[Line]) -> None:
    """Make the pieces of these lines available again."""
    for line in lines:
        line.product.stock += line.pieces
