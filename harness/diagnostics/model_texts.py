"""What torch and numpy say: memory, numbers, shapes, types, devices. One entry a rule: add yours to its family."""

from __future__ import annotations

from harness.diagnostics.text_rule import text_rule as _rule

_MEMORY = (
    _rule(
        "cuda-out-of-memory",
        "memory",
        r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|HIP out of memory",
        "the GPU has no memory left",
        "batch, window or model are too large for this GPU, or another process holds its memory",
        "halve the batch (when training, make up for it by accumulating gradients), run inference under "
        "torch.no_grad(), and see with nvidia-smi who else holds memory",
        90,
    ),
    _rule(
        "cuda-out-of-memory",
        "memory",
        r"CUDA out of memory\. Tried to allocate (?P<size>[\d.]+ \w+)",
        "the GPU has no memory left",
        "one tensor of {size} was too much: batch, window or model are too large for this GPU, or another process "
        "holds its memory",
        "halve the batch (when training, make up for it by accumulating gradients), run inference under "
        "torch.no_grad(), and see with nvidia-smi who else holds memory",
        92,
    ),
    _rule(
        "out-of-memory",
        "memory",
        r"DefaultCPUAllocator: (?:not enough memory|can't allocate memory)[^\n]*?(?P<size>\d+) bytes",
        "this machine has no memory left",
        "a tensor of {size} bytes was asked for: is a dimension (batch, window, channels) far larger than meant?",
        "print the shape that is asked for, halve the batch, and watch memory with `hil run`, which tells growth",
        92,
    ),
    _rule(
        "out-of-memory",
        "memory",
        r"Unable to allocate (?P<size>[\d.]+ \w+) for an array",
        "this machine has no memory left",
        "an array of {size} was asked for: is a dimension far larger than meant, or is everything loaded at once?",
        "print the shape that is asked for, and work in parts (np.memmap, batches)",
        92,
    ),
    _rule(
        "out-of-memory",
        "memory",
        r"\bMemoryError\b|Cannot allocate memory|Out of memory: Killed process",
        "this machine has no memory left",
        "this process or another one has taken all memory",
        "see who holds it (`ps aux --sort=-rss | head`), halve the batch, and let `hil run` tell whether memory grows",
        85,
    ),
)

_NUMBERS = (
    _rule(
        "nan-in-loss",
        "numbers",
        r"(?i)\bnan in loss|\bloss\b[^\n\w]{0,4}(?:is |became |was )?(?:nan|inf)\b",
        "the loss is NaN or Inf",
        "training is unstable: the learning rate is too high, gradients explode, or an input holds NaN",
        "clip gradients (torch.nn.utils.clip_grad_norm_), lower the learning rate tenfold, and look for the first "
        "layer that breaks: hil model check --only gradients,activations,training",
        88,
    ),
    _rule(
        "nan-in-gradient",
        "numbers",
        r"Function '(?P<function>\w+)' returned nan values in its (?P<number>\w+) output",
        "NaN in a gradient",
        "the derivative in {function} is not defined where it was taken (a root, logarithm or division at 0), or an "
        "overflow reached it",
        "keep its argument away from 0 (clamp, add an epsilon), clip gradients, and check with hil model check",
        90,
    ),
    _rule(
        "not-finite",
        "numbers",
        r"(?i)(?<!every )\b(?:not finite|non-finite|NaN or Inf(?:inity)?\b|holds? NaN|contains? (?:NaN|infinity))",
        "numbers that are NaN or infinite",
        "an input holds NaN, a division by zero or an overflow happened, or weights were saved after training broke",
        "see which layer makes them (hil model check --only activations,fusion), check how inputs are normalised "
        "(a flat signal has a standard deviation of 0), and check the weights with torch.isfinite",
        80,
    ),
)

_SHAPES = (
    _rule(
        "shape-mismatch",
        "shape",
        r"mat1 and mat2 shapes cannot be multiplied \(\d+x(?P<got>\d+) and (?P<want>\d+)x\d+\)",
        "shapes do not fit",
        "a linear layer takes {want} features and was given {got}: a channel, the window length or a flatten differs "
        "from what the model was built with",
        "compare the model's in_features with its input: `hil model check --only shapes` names batch sizes and shapes, "
        "and the rig's model.inputs says which channels it gets",
        92,
    ),
    _rule(
        "shape-mismatch",
        "shape",
        r"Given groups=\d+, weight of size [^\n]*? to have (?P<want>\d+) channels, but got (?P<got>\d+) channels",
        "shapes do not fit",
        "a convolution takes {want} channels and was given {got}",
        "choose the channels in the rig's model.inputs (channels: [...]), or build the model for {got} channels",
        92,
    ),
    _rule(
        "weights-mismatch",
        "shape",
        r"size mismatch for (?P<name>[\w.]+): copying a param with shape",
        "saved weights do not fit the model",
        "the weights of {name} were saved from a model with other dimensions",
        "build the model with the parameters that it was trained with, or load weights of this model",
        94,
    ),
    _rule(
        "weights-mismatch",
        "shape",
        r"(?:Missing|Unexpected) key\(s\) in state_dict: \"(?P<name>[^\"]+)\"",
        "saved weights do not fit the model",
        "model and file do not name the same layers (such as {name}): another version of the model, or a wrapper "
        "such as DataParallel, which puts 'module.' before every name",
        "load into the version that saved them, or strip the prefix from the names",
        93,
    ),
    _rule(
        "shape-mismatch",
        "shape",
        r"The size of tensor a \((?P<a>\d+)\) must match the size of tensor b \((?P<b>\d+)\) at non-singleton "
        r"dimension (?P<dim>\d+)",
        "shapes do not fit",
        "two tensors have sizes {a} and {b} in dimension {dim}: windows of different length or rate, or another number "
        "of channels",
        "print both shapes before that line; inputs of different rates need resampling or pooling to one length",
        91,
    ),
    _rule(
        "shape-mismatch",
        "shape",
        r"(?i:shape mismatch)|Sizes of tensors must match|operands could not be broadcast together|"
        r"shape '\[[^\]]*\]' is invalid for input of size|matmul: Input operand \d has a mismatch|"
        r"Expected \d+D [^\n]{0,60}input|stack expects each tensor to be equal size|"
        r"all the input array dimensions except",
        "shapes do not fit",
        "two arrays or a layer and its input disagree about a dimension",
        "print the shapes before that line, and try several batch sizes: hil model check --only shapes",
        84,
    ),
)

_TORCH = (
    _rule(
        "factory-arguments",
        "torch",
        r"model\.factory: (?P<factory>[\w.]+:(?:\w+\.)*(?P<function>\w+))\(\) raised TypeError: "
        r"(?:[\w.<>]+\.)?(?P=function)(?:\.__init__)?\(\) missing \d+ required [\w-]+ arguments?: "
        r"(?P<parameters>[^\n;]+)",
        "the factory wants arguments",
        "{factory} has parameters without a default ({parameters}), and a rig's factory is called without arguments",
        "give each parameter a default, or point at a function without parameters that builds the module and returns "
        "it: def whole(): return {function}(...)",
        94,
    ),
    _rule(
        "wrong-call",
        "torch",
        r"(?P<what>[\w.]+)\(\) (?:got an unexpected keyword argument|missing \d+ required positional argument|"
        r"takes \d+ positional arguments? but|got multiple values)",
        "a function is called with other arguments than it takes",
        "{what} has other parameters than its caller believes: another version of it, or a forward that wants what a "
        "rig does not give (it gives one mapping {{modality: tensor}}, or the modalities that forward names)",
        "compare that call with the definition; for a model, hil model check --only shapes says how it is called",
        88,
    ),
    _rule(
        "several-devices",
        "torch",
        r"Expected all tensors to be on the same device",
        "tensors are on different devices",
        "model and input, or a constant made in forward, are not on one device",
        "move both with .to(device), and register constants with register_buffer so that they move with the model",
        92,
    ),
    _rule(
        "dtype-mismatch",
        "torch",
        r"must have the same dtype, but got (?P<a>\w+) and (?P<b>\w+)|"
        r"expected scalar type (?P<c>\w+) but found (?P<d>\w+)|Input type \([^\n]*\) and (?:weight|bias) type",
        "number types do not fit",
        "input and weights have different types: numpy makes float64, torch's weights are float32",
        "convert at the entrance: x.float(), or numpy's astype(np.float32)",
        91,
    ),
    _rule(
        "no-cuda",
        "torch",
        r"Torch not compiled with CUDA enabled|Found no NVIDIA driver|CUDA driver version is insufficient|"
        r"torch\.cuda\.is_available\(\) is False|No CUDA GPUs are available",
        "CUDA is asked for and not there",
        "this torch is built without CUDA, or the machine has no NVIDIA GPU or driver",
        "run on the CPU (model.engine: eager; torch.load(..., map_location='cpu')), or install a CUDA build of torch; "
        "`hil doctor` says what is here",
        92,
    ),
    _rule(
        "cuda-version",
        "torch",
        r"no kernel image is available for execution on the device",
        "CUDA cannot run on this GPU",
        "this build of torch holds no code for this GPU's generation",
        "install the build of torch for this GPU (pytorch.org/get-started), and check torch.cuda.get_arch_list()",
        92,
    ),
    _rule(
        "changed-in-place",
        "torch",
        r"needed for gradient computation has been modified by an inplace operation",
        "backward fails",
        "a tensor that backward needs was changed in place (+=, relu_, x[...] = ...)",
        "write x = x + y instead of x += y; torch.autograd.set_detect_anomaly(True) names the line",
        92,
    ),
    _rule(
        "no-gradient",
        "torch",
        r"does not require grad and does not have a grad_fn",
        "backward fails",
        "the loss does not depend on any weight that learns: torch.no_grad(), detach(), .item() or numpy lies between",
        "compute the loss outside torch.no_grad() from tensors alone, and check requires_grad of the weights",
        92,
    ),
    _rule(
        "pickled-model",
        "torch",
        r"Weights only load failed",
        "a model file is not loaded",
        "the file holds Python objects and not only weights: loading it would execute what is in it",
        "export the model (torch.export.save, .pt2) or save its state_dict; never switch weights_only off for files "
        "that others made",
        92,
    ),
)

MODEL_RULES = (*_MEMORY, *_NUMBERS, *_SHAPES, *_TORCH)
