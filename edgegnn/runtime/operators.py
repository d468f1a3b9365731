"""Which of torch's operators a file of a stranger may call: those that only compute, and look where they read.

The list is what `torch.export` of graph networks and the TorchScript files of edgegnn contain, and their neighbours.
What a list has no use for stays out: files, output, the state of the process, memory of others, and operators that take
an index or a size from their caller without looking (row pointers, weight norm).
"""

from __future__ import annotations

__all__ = ["computes"]

_NAMES = """
_adaptive_avg_pool2d _assert_async _assert_scalar _assert_tensor_metadata _cdist_forward _convolution _embedding_bag
_embedding_bag_forward_only _euclidean_dist _fft_c2c _fft_c2r _fft_r2c _functional_assert_async
_functional_assert_scalar _functional_sym_constrain_range _functional_sym_constrain_range_for_size _is_all_true
_is_any_true _local_scalar_dense _log_softmax _pdist_forward _safe_softmax _scaled_dot_product_attention_math
_shape_as_tensor _softmax _to_copy _trilinear _unique2 _unsafe_view abs absolute acos acosh adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv addcmul addmm addmv addr adjoint alias
all alpha_dropout amax amin aminmax angle any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
argsort argwhere as_strided asin asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d baddbmm
batch_norm bernoulli bilinear bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
bitwise_xor block_diag bmm broadcast_tensors broadcast_to bucketize cat cdist ceil celu chunk clamp clamp_max clamp_min
clip clone column_stack complex concat concatenate conj constant_pad_nd contiguous conv1d conv2d conv3d
conv_transpose1d conv_transpose2d convolution copy copysign cos cosh cosine_similarity count_nonzero cross cummax
cummin cumprod cumsum deg2rad det detach diag diag_embed diagflat diagonal diff digamma div divide dot dropout einsum
elu embedding embedding_bag empty empty_like empty_permuted empty_strided eq equal erf erfc erfinv exp exp2 expand
expand_as expm1 exponential eye fake_quantize_per_channel_affine fake_quantize_per_tensor_affine feature_alpha_dropout
feature_dropout fft_fft fft_ifft fft_irfft fft_rfft fill flatten flip fliplr flipud float_power floor floor_divide fmax
fmin fmod frac full full_like gather gcd ge gelu glu greater greater_equal group_norm gru gru_cell gt hardshrink
hardsigmoid hardswish hardtanh heaviside histc hstack hypot imag index index_add index_copy index_fill index_put
index_reduce index_select inner instance_norm inverse isclose isfinite isin isinf isnan isneginf isposinf isreal item
kron kthvalue layer_norm le leaky_relu lerp less less_equal lgamma lift_fresh lift_fresh_copy linalg_cholesky
linalg_cross linalg_det linalg_diagonal linalg_eigh linalg_eigvals linalg_eigvalsh linalg_inv linalg_lstsq
linalg_matrix_exp linalg_matrix_norm linalg_matrix_power linalg_matrix_rank linalg_multi_dot linalg_norm linalg_pinv
linalg_qr linalg_slogdet linalg_solve linalg_solve_triangular linalg_svd linalg_svdvals linalg_vecdot
linalg_vector_norm linear linspace log log10 log1p log2 log_sigmoid log_sigmoid_forward log_softmax logaddexp
logaddexp2 logcumsumexp logdet logical_and logical_not logical_or logical_xor logit logspace logsumexp lstm lstm_cell
lt masked_fill masked_scatter masked_select matmul matrix_exp matrix_power max max_pool1d max_pool2d
max_pool2d_with_indices maximum mean median meshgrid min minimum mish mm mode moveaxis movedim mul multinomial multiply
mv nan_to_num nanmean nansum narrow native_dropout native_group_norm native_layer_norm ne neg negative new_empty
new_empty_strided new_full new_ones new_zeros nonzero nonzero_static norm normal not_equal numel numpy_T one_hot ones
ones_like outer pad pairwise_distance permute pinverse pixel_shuffle pixel_unshuffle polar positive pow prelu prod
quantile rad2deg rand rand_like randint randint_like randn randn_like randperm ravel real reciprocal reflection_pad1d
reflection_pad2d relu relu6 remainder renorm repeat repeat_interleave replication_pad1d replication_pad2d reshape
reshape_as resolve_conj rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell roll rot90 round rrelu rsqrt rsub
scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select select_scatter selu
sgn sigmoid sign signbit silu sin sinc sinh size slice slice_scatter slogdet softmax softplus softshrink sort
special_erf special_erfc special_exp2 special_expit special_expm1 special_gammaln special_i0 special_i0e special_i1
special_log1p special_log_softmax special_logit special_logsumexp special_round special_sinc special_softmax
special_spherical_bessel_j0 special_xlog1py special_xlogy split split_with_sizes sqrt square squeeze stack std std_mean
storage_offset stride sub subtract sum sum_to_size swapaxes swapdims sym_constrain_range sym_constrain_range_for_size
sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride t take take_along_dim tan tanh tensor_split
tensordot threshold tile to topk trace transpose tril tril_indices triu triu_indices true_divide trunc type_as unbind
unflatten unfold uniform unique_consecutive unique_dim unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze
upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d var var_mean vdot view view_as
view_as_complex view_as_real vsplit vstack where xlogy zero zeros zeros_like
"""
_OPERATORS = frozenset(_NAMES.split())


def computes(name: str) -> bool:
    """Whether the operator `aten::name`, or the one that `name_` is the in-place form of, only computes."""
    return name in _OPERATORS or (not name.startswith("_") and name.removesuffix("_") in _OPERATORS)
