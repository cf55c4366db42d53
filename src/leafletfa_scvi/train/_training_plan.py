"""The Lightning plan of stochastic variational inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.train import LowLevelPyroTrainingPlan

from leafletfa_scvi.module import ClosedFormELBO

if TYPE_CHECKING:
    from leafletfa_scvi.module import LeafletFAModule

_DIVERGED = (
    "{} at step {}. Lower the learning rate (lr=...), or restart with another seed "
    "(scvi.settings.seed)."
)
_MAX_LOG = 80.0


class SplicingTrainingPlan(LowLevelPyroTrainingPlan):  # type: ignore[misc] # scvi has no types
    """Training plan: ELBO with closed-form KL divergences, Adam, exponential learning rate decay.

    Logs ``elbo_train``, the negative ELBO averaged over the minibatches of an epoch (each scaled
    to all cells), and, if entries are hidden, ``reconstruction_loss_validation``, the negative
    mean of their log-likelihood at the guide's means.

    Parameters
    ----------
    module
        Module to train.
    n_steps
        Total number of gradient steps, over which the learning rate decays.
    lr
        Learning rate at the first step.
    lr_decay
        Learning rate at the last step as a fraction of the first.
    n_particles
        Number of draws from the guide at each step.
    optim
        Class of the optimizer. If None, :class:`torch.optim.Adam`.
    optim_kwargs
        Further arguments of the optimizer; ``lr`` in them takes precedence over ``lr``.
    """

    def __init__(
        self,
        module: LeafletFAModule,
        *,
        n_steps: int,
        lr: float = 0.05,
        lr_decay: float = 0.05,
        n_particles: int = 1,
        optim: type[torch.optim.Optimizer] | None = None,
        optim_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            module,
            loss_fn=ClosedFormELBO(num_particles=n_particles),
            optim=optim,
            optim_kwargs={"lr": lr, **(optim_kwargs or {})},
            n_epochs_kl_warmup=None,
        )
        self.lr_decay = lr_decay
        self.n_steps = max(n_steps, 1)
        self._hidden_value = 0.0
        self._hidden_entries = 0

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        """Run one step; raise an error if the loss is not finite, before it reaches parameters."""
        try:
            out: dict[str, torch.Tensor] = super().training_step(batch, batch_idx)
        except ValueError as error:
            if self._in_range():
                raise
            problem = "Parameters are not finite or beyond their range"
            raise FloatingPointError(_DIVERGED.format(problem, self.global_step)) from error
        loss = out["loss"].detach()
        self.training_step_outputs[-1] = {"loss": loss}
        self._losses.append(loss)
        if not torch.isfinite(loss):
            problem = f"The loss is {float(loss)}"
            raise FloatingPointError(_DIVERGED.format(problem, self.global_step))
        return out

    def _in_range(self) -> bool:
        """Return True if the exponentials of the parameters, all of them logs, are finite."""
        return all(bool((p.abs() < _MAX_LOG).all()) for p in self.module.parameters())

    def on_train_epoch_start(self) -> None:
        """Clear the losses of the last epoch."""
        self._losses: list[torch.Tensor] = []
        super().on_train_epoch_start()

    def epoch_loss(self) -> float:
        """Return the mean loss of the epoch's steps."""
        return float(torch.stack(self._losses).mean())

    def on_validation_epoch_start(self) -> None:
        """Reset the sums over hidden entries."""
        self._hidden_value, self._hidden_entries = 0.0, 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score hidden entries at the guide's means."""
        guide, entries = self.module.guide, batch["entries"]
        value = self.module.factors(guide.phi(batch["cells"]).mean).log_likelihood(entries)
        self._hidden_value += float(value.sum())
        self._hidden_entries += entries.n_entries

    def on_validation_epoch_end(self) -> None:
        """Log the mean over hidden entries."""
        loss = -self._hidden_value / max(self._hidden_entries, 1)
        self.log("reconstruction_loss_validation", loss, prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """Set up the optimizer of the parameters that are not frozen, with exponential decay."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        options = dict(self.optim_kwargs)
        if self.optim is torch.optim.Adam and not {"fused", "foreach"} & options.keys():
            options["fused"] = self.module.device.type == "cpu"
        optimizer = self.optim(trained, **options)
        gamma = self.lr_decay ** (1.0 / self.n_steps)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
