"""`make mutants`: break the code in each of the known ways; a CI test must notice each.

Every mutant is one replaced piece of text in a copy of the repository, and the test file
that is there to catch it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Mutant(NamedTuple):
    """One way to be wrong."""

    trap: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "the first block of workers stands for all",
        "jaxmeta/nn/cache_blocks.py",
        "lax.dynamic_slice_in_dim(x, i * size, size, axis)",
        "lax.dynamic_slice_in_dim(x, 0 * size, size, axis)",
        "tests/jaxmeta/nn/test_cache_blocks.py",
    ),
    Mutant(
        "a replay's bytes are not counted",
        "jaxmeta/devices/memory_budget.py",
        "needed = size(like) * holders",
        "needed = size(like._replace(state=like.state._replace(replay=None))) * holders",
        "tests/jaxmeta/devices/test_memory_budget.py",
    ),
    Mutant(
        "the start state is shown at inner boundaries",
        "jaxmeta/trial.py",
        'if self.boundary == "start" else step.next_obs',
        'if self.boundary != "" else step.next_obs',
        "tests/jaxmeta/test_trial.py",
    ),
    Mutant(
        "memory is cleared at every episode's end",
        "jaxmeta/rl/actor_critic.py",
        'return apply(encoder, params["encoder"], *inputs, method="step")',
        'return (1 - tr.last) * apply(encoder, params["encoder"], *inputs, method="step")',
        "tests/jaxmeta/rl/test_actor_critic.py",
    ),
    Mutant(
        "memory survives a trial's end in the update",
        "jaxmeta/rl/actor_critic.py",
        "keep = 1.0 - tr.over",
        "keep = 1.0 - 0.0 * tr.over",
        "tests/jaxmeta/rl/test_actor_critic.py",
    ),
    Mutant(
        "the policy reads a sample instead of mean and logvar",
        "jaxmeta/nn/networks.py",
        "parts = [obs.astype(jnp.float32), *latent] if self.sees_obs else latent",
        "z = latent[0] + jnp.exp(0.5 * latent[1])\n"
        "        parts = [obs.astype(jnp.float32), z, z] if self.sees_obs else (z, z)",
        "tests/jaxmeta/nn/test_networks.py",
    ),
    Mutant(
        "the reconstruction is a mean over decoded steps where it should be a sum",
        "jaxmeta/beliefs/reward_decoders.py",
        'return total * length if hp.reduction == "sum" else total',
        "return total",
        "tests/jaxmeta/beliefs/test_gaussian_belief.py",
    ),
    Mutant(
        "no gradient into the KL's prior",
        "jaxmeta/beliefs/gaussian_belief.py",
        "jnp.where(valid, kl(after, before), 0.0)",
        "jnp.where(valid, kl(after, jax.lax.stop_gradient(before)), 0.0)",
        "tests/jaxmeta/beliefs/test_gaussian_belief.py",
    ),
    Mutant(
        "RMSprop's eps under the root",
        "jaxmeta/rl/a2c.py",
        "eps_in_sqrt=False",
        "eps_in_sqrt=True",
        "tests/jaxmeta/rl/test_a2c.py",
    ),
    Mutant(
        "the imagined reward comes from the belief after the step",
        "jaxmeta/imagination/latent_mixture.py",
        "q = self.belief.posterior(self.params, state.belief)",
        "q = self.belief.posterior(self.params, self.belief.update("
        "self.params, state.belief, action, step.obs, step.reward))",
        "tests/jaxmeta/imagination/test_latent_mixture.py",
    ),
    Mutant(
        "the belief is updated with the real reward where an imagined one was received",
        "jaxmeta/imagination/latent_mixture.py",
        "memory = self.belief.update(self.params, state.belief, action, step.obs, reward)",
        "memory = self.belief.update(self.params, state.belief, action, step.obs, step.reward)",
        "tests/jaxmeta/imagination/test_latent_mixture.py",
    ),
    Mutant(
        "mixture workers' trajectories reach the replay",
        "jaxmeta/algorithms/ldm.py",
        "order = jnp.argsort(workers.task.imagined.reshape(-1), stable=True)",
        "order = jnp.argsort(~workers.task.imagined.reshape(-1), stable=True)",
        "tests/jaxmeta/algorithms/test_algorithms.py::test_mixture_trajectories_never_reach_the_replay",
    ),
    Mutant(
        "the decoder's dropout is off",
        "jaxmeta/beliefs/reward_decoders.py",
        "return jnp.where(bits >= dropped, embedded * scale, 0.0)",
        "return embedded",
        "tests/jaxmeta/beliefs/test_reward_decoders.py",
    ),
    Mutant(
        "dropout rescales by the nominal rate, not by what is kept",
        "jaxmeta/beliefs/reward_decoders.py",
        "scale = 256 / (256 - dropped.astype(jnp.float32))",
        "scale = 1 / (1 - rate)",
        "tests/jaxmeta/beliefs/test_reward_decoders.py",
    ),
    Mutant(
        "beta's offset has the wrong sign",
        "jaxmeta/imagination/latent_mixture.py",
        "- (imagination.beta - 1) / n",
        "+ (imagination.beta - 1) / n",
        "tests/jaxmeta/imagination/test_latent_mixture.py",
    ),
    Mutant(
        "the GRU is initialised orthogonally gate by gate",
        "jaxmeta/nn/gru.py",
        '"wh": orthogonal(key_hidden, (3 * hidden, hidden)),',
        '"wh": jnp.concatenate([orthogonal(k, (hidden, hidden)) '
        "for k in jax.random.split(key_hidden, 3)]),",
        "tests/jaxmeta/nn/test_gru.py",
    ),
    Mutant(
        "advantages are normalised in A2C",
        "jaxmeta/rl/a2c.py",
        "policy_loss = -(advantage * evaluated.log_prob).mean()",
        "policy_loss = -((advantage - advantage.mean()) / advantage.std() "
        "* evaluated.log_prob).mean()",
        "tests/jaxmeta/rl/test_a2c.py",
    ),
    Mutant(
        "the last value is not bootstrapped",
        "jaxmeta/rl/gae.py",
        "start = (bootstrap * 0, bootstrap)",
        "start = (bootstrap * 0, bootstrap * 0)",
        "tests/jaxmeta/rl/test_gae.py",
    ),
    Mutant(
        "GAE crosses a time limit where it must not",
        "jaxmeta/rl/gae.py",
        "advantage = jnp.where(cut, 0.0, delta + gamma * lam * discount * advantage)",
        "advantage = delta + gamma * lam * discount * advantage",
        "tests/jaxmeta/rl/test_gae.py",
    ),
    Mutant(
        "a fall counts as a time limit",
        "jaxmeta/trial.py",
        "limit=last & (~step.last | step.limit),",
        "limit=last,",
        "tests/jaxmeta/test_trial.py",
    ),
    Mutant(
        "real returns are imagined ones",
        "jaxmeta/algorithms/ldm.py",
        "return lambda tr: tr._replace(reward=tr.env_reward)",
        "return unchanged",
        "tests/jaxmeta/algorithms/test_algorithms.py::test_real_returns_replace_what_was_imagined",
    ),
    Mutant(
        "memories in the middle of a trial are those of old parameters",
        "jaxmeta/rl/update_schedule.py",
        "return workers._replace(memory=recompute(trial_transitions))",
        "return workers",
        "tests/jaxmeta/rl/test_update_schedule.py",
    ),
    Mutant(
        "half trials reach the replay",
        "jaxmeta/rl/update_schedule.py",
        "return ring_buffer.add(replay, rows, mode, k == count - 1)",
        "return ring_buffer.add(replay, rows, mode)",
        "tests/jaxmeta/rl/test_update_schedule.py",
    ),
    Mutant(
        "gradient steps in the middle of a trial encode from an empty memory",
        "jaxmeta/rl/actor_critic.py",
        "inputs.keep, inputs.start[0])",
        "inputs.keep, 0 * inputs.start[0])",
        "tests/jaxmeta/rl/test_update_schedule.py",
    ),
    Mutant(
        "the greedy evaluation samples",
        "jaxmeta/agent.py",
        "return agent._replace(draw=lambda key: agent.quiet(agent.draw(key)))",
        "return agent",
        "tests/jaxmeta/training/test_result.py::test_a_loaded_agent_acts_as_it_was_evaluated",
    ),
    Mutant(
        "a greedy agent's memory is silenced, too",
        "jaxmeta/agent.py",
        "lambda key: agent.quiet(agent.draw(key))",
        "lambda key: zero_noise(agent.draw(key))",
        "tests/jaxmeta/test_rollout.py",
    ),
    Mutant(
        "memories begin with a draw that a reset makes as well",
        "jaxmeta/rollout.py",
        "MEMORY_ROLE = 2**31 - 1",
        "MEMORY_ROLE = 1",
        "tests/jaxmeta/test_rollout.py",
    ),
    Mutant(
        "policies learn nothing of a shaped reward",
        "jaxmeta/agent.py",
        "return tr.reward if tr.shaped is None else tr.shaped",
        "return tr.reward",
        "tests/jaxmeta/test_rollout.py",
    ),
    Mutant(
        "only rewards say that a goal was met",
        "jaxmeta/env.py",
        "met = jnp.asarray(met)\n",
        "met = jnp.zeros((), bool)\n",
        "tests/jaxmeta/test_rollout.py",
    ),
    Mutant(
        "variBAD's encoder is cut off from the RL loss",
        "jaxmeta/algorithms/varibad.py",
        "net.evaluate(params, rollout), rollout.transitions, hp.a2c",
        "net.evaluate(params | {'encoder': jax.lax.stop_gradient(params['encoder'])}, rollout), "
        "rollout.transitions, hp.a2c",
        "tests/jaxmeta/algorithms/test_algorithms.py::test_varibads_encoder_receives_the_rl_gradient",
    ),
    Mutant(
        "the gradient of the GRU forgets a trial's end",
        "jaxmeta/nn/gru.py",
        "dh = (dh + g_after) * kept[:, None]",
        "dh = dh + g_after",
        "tests/jaxmeta/nn/test_gru.py",
    ),
    Mutant(
        "a time limit ends bootstrapping in SAC",
        "jaxmeta/replay/off_policy_rows.py",
        "discount=jnp.where(tr.limit, 1.0, tr.discount)",
        "discount=tr.discount",
        "tests/jaxmeta/replay/test_off_policy_rows.py",
    ),
    Mutant(
        "a window reads across a trial's end",
        "jaxmeta/replay/off_policy_rows.py",
        "keep = (valid & ~row.cut[at]).astype(jnp.float32)",
        "keep = valid.astype(jnp.float32)",
        "tests/jaxmeta/replay/test_off_policy_rows.py",
    ),
    Mutant(
        "equal tasks count as different ones",
        "jaxmeta/rl/off_policy.py",
        "return jnp.argmax(equal, axis=1).astype(jnp.int32)",
        "return jnp.arange(count)",
        "tests/jaxmeta/rl/test_off_policy.py::test_equal_tasks_have_one_id",
    ),
    Mutant(
        "SAC's belief after a step is the one before it",
        "jaxmeta/rl/off_policy.py",
        "hidden[:-1][-per_window:], hidden[-per_window:]",
        "hidden[:-1][-per_window:], hidden[:-1][-per_window:]",
        "tests/jaxmeta/rl/test_off_policy.py::test_sac_reads_the_rollouts_transitions_and_beliefs",
    ),
    Mutant(
        "the larger of both critics counts",
        "jaxmeta/rl/sac.py",
        "next_v = jnp.minimum(*next_q)",
        "next_v = jnp.maximum(*next_q)",
        "tests/jaxmeta/rl/test_sac.py",
    ),
    Mutant(
        "the squashing is left out of the density",
        "jaxmeta/rl/sac.py",
        "(normal - log_det).sum(-1)",
        "normal.sum(-1)",
        "tests/jaxmeta/rl/test_sac.py",
    ),
    Mutant(
        "the actor's loss moves the critics",
        "jaxmeta/rl/sac.py",
        'fixed = lax.stop_gradient(trainable["critics"])',
        'fixed = trainable["critics"]',
        "tests/jaxmeta/rl/test_sac.py",
    ),
    Mutant(
        "a learned temperature moves away from its target",
        "jaxmeta/rl/sac.py",
        'temperature_grad = metrics["entropy"] + actions',
        'temperature_grad = -metrics["entropy"] - actions',
        "tests/jaxmeta/rl/test_sac.py",
    ),
    Mutant(
        "no gradient into the chained prior of MoSS",
        "jaxmeta/beliefs/mixture_elbo.py",
        "jnp.concatenate([s[:1], x[:-1]])",
        "jnp.concatenate([s[:1], jax.lax.stop_gradient(x[:-1])])",
        "tests/jaxmeta/beliefs/test_mixture_elbo.py",
    ),
    Mutant(
        "InfoNCE pushes trajectories of the same task apart",
        "jaxmeta/beliefs/mixture_elbo.py",
        "negative = tasks[:, None] != tasks[None]",
        "negative = jnp.ones_like(is_positive)",
        "tests/jaxmeta/beliefs/test_mixture_elbo.py",
    ),
    Mutant(
        "a latent always explains what it has read",
        "jaxmeta/beliefs/mixture_belief.py",
        'latents = z[1:] if options.decodes == "current" else z[:-1]',
        "latents = z[1:]",
        "tests/jaxmeta/beliefs/test_mixture_belief.py",
    ),
    Mutant(
        "a frozen replay overwrites",
        "jaxmeta/replay/ring_buffer.py",
        'if mode == "ring":\n        slot',
        'if mode != "":\n        slot',
        "tests/jaxmeta/replay/test_ring_buffer.py",
    ),
    Mutant(
        "nobody looks again under the lock",
        "jaxmeta/rundir/lock.py",
        "        yield status_of(run, path)",
        "        yield None",
        "tests/jaxmeta/rundir/test_lock.py",
    ),
    Mutant(
        "a call builds twice",
        "jaxmeta/training/train_run.py",
        "return result_for_all(path, built.algorithm.agent, trained)",
        "return stored_result_for_all(path, build_together([built.run], env, method))",
        "tests/experiments/cli/test_train.py",
    ),
    Mutant(
        "a later format is read as ours",
        "jaxmeta/config/data_format.py",
        "not 1 <= found <= FORMAT",
        "not 1 <= found",
        "tests/jaxmeta/config/test_run.py",
    ),
    Mutant(
        "a leaf that a checkpoint is too old to have begins at zero",
        "jaxmeta/rundir/checkpoint.py",
        "return np.broadcast_to(np.asarray(value, x.dtype), x.shape).copy()",
        "return np.zeros(x.shape, x.dtype)",
        "tests/jaxmeta/rundir/test_checkpoint.py",
    ),
    Mutant(
        "imagined frames count as real ones",
        "jaxmeta/training/loop.py",
        "(self.per_update if real is None else real)",
        "self.per_update",
        "tests/jaxmeta/training/test_loop.py",
    ),
    Mutant(
        "a run starts over instead of resuming",
        "jaxmeta/training/train_run.py",
        "restored = restore_for_all(path, folders, like, facts, start_of(algorithm, members))",
        "restored = None",
        "tests/test_faults.py::test_a_killed_run_goes_on_to_the_same_bits",
    ),
    Mutant(
        "sums since the last log line are lost on resuming",
        "jaxmeta/training/train_run.py",
        "train_state = functions.to_devices(restored.items[COURSE])",
        "train_state = functions.to_devices(restored.items[COURSE])\n"
        "    train_state = train_state._replace(progress=functions.zero_metric_sums())",
        "tests/jaxmeta/training/test_train_run.py::test_a_crashed_run_goes_on_to_the_same_bits",
    ),
    Mutant(
        "rows from after the checkpoint are kept on resuming",
        "jaxmeta/rundir/run_writer.py",
        "file.truncate(size)",
        "file.truncate()",
        "tests/jaxmeta/training/test_train_run.py::test_a_crashed_run_goes_on_to_the_same_bits",
    ),
    Mutant(
        "a checkpoint's content is not compared with its hashes",
        "jaxmeta/rundir/checkpoint.py",
        'if sha256(data) != leaves[name]["sha256"]:',
        "if False:",
        "tests/jaxmeta/rundir/test_checkpoint.py",
    ),
    Mutant(
        "a checkpoint shares its memory with the next chunk",
        "jaxmeta/rundir/checkpoint.py",
        "data if data.flags.owndata else data.copy()",
        "data",
        "tests/jaxmeta/rundir/test_checkpoint.py",
    ),
    Mutant(
        "a second signal is not heard",
        "jaxmeta/training/stop_signals.py",
        "os._exit(EXIT_CODE)",
        "return",
        "tests/jaxmeta/training/test_stop_signals.py",
    ),
    Mutant(
        "dead seeds are finite again after resuming",
        "jaxmeta/training/loop.py",
        '{**notes, "dead": dead}',
        '{**notes, "dead": {}, "pinned": []}',
        "tests/jaxmeta/training/test_train_run.py::test_when_a_seed_dies_the_others_continue",
    ),
    Mutant(
        "older checkpoints are deleted although they are pinned",
        "jaxmeta/rundir/checkpoint.py",
        "if old not in self.pinned:",
        "if old >= 0:",
        "tests/jaxmeta/rundir/test_checkpoint.py",
    ),
    Mutant(
        "a dead seed is evaluated",
        "jaxmeta/training/loop.py",
        "[row for row in rows if row[1] not in progress.dead]",
        "rows",
        "tests/jaxmeta/training/test_train_run.py::test_when_a_seed_dies_the_others_continue",
    ),
    Mutant(
        "parameters that are not finite go unnoticed",
        "jaxmeta/training/compiled_functions.py",
        "params = all_finite(algorithm.params(state))",
        "params = jnp.array(True)",
        "tests/jaxmeta/training/test_compiled_functions.py",
    ),
    Mutant(
        "the best parameters are the last ones",
        "jaxmeta/training/saved_items.py",
        "chosen = (score > best.score)",
        "chosen = (score > -1e9)",
        "tests/jaxmeta/training/test_saved_items.py",
    ),
    Mutant(
        "two processes may write to one directory",
        "jaxmeta/rundir/lock.py",
        "        lock.acquire(timeout=1)\n",
        "        pass\n",
        "tests/jaxmeta/rundir/test_lock.py",
    ),
    Mutant(
        "a run's directory names code to execute",
        "jaxmeta/rundir/reading.py",
        "if user_code.is_file(name) and given is None:",
        "if False:",
        "tests/jaxmeta/test_security.py",
    ),
    Mutant(
        "a file that a run's folder names is executed",
        "jaxmeta/config/run.py",
        "env = registry.recorded_env_spec(self.env)\n"
        "            method = registry.recorded_method_spec(self.method)",
        "env, method = resolve.load_specs(self.env, self.method)",
        "tests/jaxmeta/config/test_foreign_sections.py",
    ),
    Mutant(
        "a user's file can use JAX before devices are asked for",
        "jaxmeta/config/user_code.py",
        "load(BEFORE_USER_CODE)()",
        "load(BEFORE_USER_CODE)",
        "tests/jaxmeta/config/test_foreign_sections.py",
    ),
    Mutant(
        "an environment's options share one compiled program",
        "jaxmeta/config/resolve.py",
        'STATIC_SECTIONS = ("trial", "evaluation", ENV_SECTION)',
        'STATIC_SECTIONS = ("trial", "evaluation")',
        "tests/jaxmeta/config/test_foreign_sections.py",
    ),
    Mutant(
        "sections are not asked what they demand",
        "jaxmeta/config/run.py",
        'run.section_facts("check")',
        'run.section_facts("checks")',
        "tests/jaxmeta/config/test_run.py",
    ),
    Mutant(
        "an environment made with other options is taken",
        "jaxmeta/training/build.py",
        "if wanted.get(name) != made.get(name):",
        "if False:",
        "tests/jaxmeta/config/test_foreign_sections.py",
    ),
    Mutant(
        "what a paper says counts more than its code in the preset of the code",
        "jaxmeta/paper_settings/__init__.py",
        'dict.fromkeys(("paper", preset))',
        'dict.fromkeys((preset, "paper"))',
        "tests/jaxmeta/test_paper_settings.py",
    ),
    Mutant(
        "an evaluation cut short counts as whole",
        "jaxmeta/statistics.py",
        "== size",
        "== counts.max(initial=0)",
        "tests/jaxmeta/test_statistics.py",
    ),
    Mutant(
        "the interquartile mean cuts nothing",
        "jaxmeta/statistics.py",
        "cut = values.shape[-1] // 4",
        "cut = 0",
        "tests/jaxmeta/test_statistics.py",
    ),
    Mutant(
        "the bootstrap draws the seeds of every task apart",
        "jaxmeta/statistics.py",
        "drawn = scores[picked]",
        "apart = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, *scores.shape))\n"
        "    drawn = np.take_along_axis(scores[None], apart, 1)",
        "tests/jaxmeta/test_statistics.py",
    ),
    Mutant(
        "ties count as wins",
        "jaxmeta/statistics.py",
        "np.sign(x[:, None] - y[None])",
        "np.where(x[:, None] >= y[None], 1, -1)",
        "tests/jaxmeta/test_statistics.py",
    ),
    Mutant(
        "a claim holds whichever side is ahead",
        "experiments/analysis/lee_2021_claims.py",
        "Verdict(HOLDS if difference.means > 0 else FAILS, ours)",
        "Verdict(HOLDS, ours)",
        "tests/experiments/analysis/test_lee_2021_claims.py",
    ),
    Mutant(
        "runs with other settings count as the paper's",
        "experiments/analysis/lee_2021_claims.py",
        "if settings == paper:",
        "if settings.keys() == paper.keys():",
        "tests/experiments/analysis/test_lee_2021_claims.py",
    ),
    Mutant(
        "a run resumed under another version of a package counts as one under the first",
        "experiments/analysis/run_record.py",
        'for v in (found.get("versions", {}), *later)]',
        'for v in (found.get("versions", {}),)]',
        "tests/experiments/analysis/test_run_record.py",
    ),
    Mutant(
        "contact forces cost as they are, unclipped",
        "envs/locomotion/ant.py",
        "jnp.clip(state.forces, -1.0, 1.0)",
        "state.forces",
        "tests/envs/locomotion/test_contacts.py",
    ),
    Mutant(
        "torques come in the order of actions",
        "envs/locomotion/humanoid.py",
        "self.ctrl_max))[self.motors]",
        "self.ctrl_max))",
        "tests/envs/locomotion/test_humanoid.py",
    ),
    Mutant(
        "controls of a step that was not taken are seen",
        "envs/locomotion/robot.py",
        "jnp.where(after.bad, 0.0, ctrl)",
        "ctrl",
        "tests/envs/locomotion/test_humanoid.py",
    ),
    Mutant(
        "a truncated episode counts as terminated",
        "envs/adapters/to_gymnasium.py",
        "terminated = over and not bad and float(step.discount) == 0",
        "terminated = over",
        "tests/envs/adapters/test_to_gymnasium.py",
    ),
    Mutant(
        "gymnax's time limit ends the MDP",
        "envs/adapters/from_gymnax.py",
        "limit=truncated & ~terminated,",
        "limit=False,",
        "tests/envs/adapters/test_from_gymnax.py",
    ),
    Mutant(
        "an agent forgets between the episodes of gymnasium",
        "jaxmeta/training/gymnasium_play.py",
        "            episode, t = episode + 1, 0",
        "            episode, t, memory = episode + 1, 0, agent.begin(params, first_noise)",
        "tests/jaxmeta/training/test_gymnasium_play.py",
    ),
    Mutant(
        "the control rewarded by one worker's latent is rewarded by a mixture",
        "jaxmeta/imagination/latent_mixture.py",
        'single_source = imagination.pay == "worker"',
        "single_source = False",
        "tests/jaxmeta/imagination/test_latent_mixture.py",
    ),
    Mutant(
        "a seed's workers are on every device that shares them",
        "jaxmeta/axes.py",
        "lax.with_sharding_constraint(x, P(GROUPS))",
        "lax.with_sharding_constraint(x, P())",
        "tests/jaxmeta/config/test_mesh_shape.py",
    ),
    Mutant(
        "all tasks of a SLURM job train together, whatever srun started",
        "jaxmeta/config/process_group.py",
        'os.environ.get("SLURM_STEP_NUM_TASKS", "1")',
        'os.environ.get("SLURM_NTASKS", "1")',
        "tests/jaxmeta/config/test_process_group.py",
    ),
    Mutant(
        "what process 0 refuses, the others wait for",
        "jaxmeta/devices/hosts.py",
        'raise ERRORS[said["error"]](said["message"])',
        "pass",
        "tests/jaxmeta/devices/test_hosts.py",
    ),
    Mutant(
        "the split that is called train is asked for, where no split is",
        "jaxmeta/trial.py",
        "return self.splits[0] if split == TRAIN else split",
        "return split",
        "tests/jaxmeta/test_trial.py",
    ),
    Mutant(
        "actions leave the bounds of their box",
        "jaxmeta/action_units.py",
        "return jnp.clip(action, low, high)",
        "return action",
        "tests/jaxmeta/test_action_units.py",
    ),
    Mutant(
        "a state that changes its dtype is accepted",
        "jaxmeta/training/env_functions.py",
        'require_same("state of step", stepped[0], "state of reset", state)',
        "pass",
        "tests/jaxmeta/training/test_env_contract.py",
    ),
    Mutant(
        "a finished run of other code is read back",
        "jaxmeta/rundir/handed_over.py",
        "return None if then[keys[0]] == now[keys[0]] else",
        "return None if then.keys() == now.keys() else",
        "tests/jaxmeta/rundir/test_handed_over.py",
    ),
    Mutant(
        "two versions of a method share a table",
        "experiments/analysis/comparable_runs.py",
        '"" if code == kept else code',
        '""',
        "tests/experiments/analysis/test_run_record.py",
    ),
    Mutant(
        "what a function encloses does not count as its code",
        "jaxmeta/rundir/code_fingerprint.py",
        'if name != "__class__":',
        'if name == "":',
        "tests/jaxmeta/rundir/test_code_fingerprint.py",
    ),
    Mutant(
        "a trial's last return counts where it was set to zero",
        "jaxmeta/nn/running_statistics.py",
        "returns = jnp.where(over.T, 0.0, returns)",
        "pass",
        "tests/jaxmeta/nn/test_running_statistics.py",
    ),
    Mutant(
        "discounted returns start anew in every update",
        "jaxmeta/rl/ppo.py",
        "jnp.broadcast_to(start, tr.over.shape[1:])",
        "jnp.zeros(tr.over.shape[1:])",
        "tests/jaxmeta/rl/test_update_schedule.py",
    ),
    Mutant(
        "a belief learns from a replay that is still empty",
        "jaxmeta/beliefs/elbo_learner.py",
        "lax.cond(replay.seen > 0, train, wait, start)",
        "train(start)",
        "tests/jaxmeta/rl/test_update_schedule.py",
    ),
)


def broken_copy(mutant: Mutant, folder: Path) -> None:
    """Copy the repository's code into `folder`, with the mutant in it."""
    for name in ("jaxmeta", "envs", "experiments", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    path = folder / mutant.file
    path.write_text(path.read_text().replace(mutant.old, mutant.new))


def caught(mutant: Mutant) -> bool:
    """Whether the mutant's test file fails on a broken copy (and not for a crash of pytest)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken_copy(mutant, folder)
        command = [sys.executable, "-m", "pytest", "-x", "-q", mutant.test]
        env = os.environ | {"PYTHONPATH": str(folder)}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.trap}: pytest did not run\n{done.stdout}{done.stderr}")
    return done.returncode == 1


def main() -> int:
    """Try every mutant; print, and with --out write, the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    parser.add_argument("--only", default="", help="mutants whose description holds this text")
    args = parser.parse_args()
    rows = ["| trap | caught by |", "|---|---|"]
    missed = 0
    for mutant in MUTANTS:
        if args.only in mutant.trap:
            start = time.time()
            found = caught(mutant)
            missed += not found
            verdict = mutant.test if found else "NOT CAUGHT"
            rows.append(f"| {mutant.trap} (`{mutant.file}`) | `{verdict}` |")
            print(f"{mutant.trap}: {verdict} ({time.time() - start:.0f} s)", flush=True)
    if args.out:
        text = "# Mutants\n\n`make mutants` breaks the code in each of these ways.\n\n"
        args.out.write_text(text + "\n".join(rows) + "\n")
    print(f"{len(rows) - 2 - missed} caught, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
