using System.Runtime.InteropServices;
using MLNetMultimodal.Models.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Between tensors of torch and tensors of a file.</summary>
static class TorchTensors
{
    /// <summary>A copy on the CPU: floats as float32, integers as int64, bytes and booleans as they are.</summary>
    public static Tensor ToTensor(this TensorData data)
    {
        long[] shape = [.. data.Shape];
        using DisposeScope scope = NewDisposeScope();
        Tensor values = data.Type switch
        {
            DType.F32 or DType.F64 or DType.F16 or DType.BF16 => tensor(data.ToSingles(), shape),
            DType.BOOL => tensor(data.ToInt64s(), shape).to(ScalarType.Bool),
            DType.U8 => tensor(data.Bytes.ToArray(), shape),
            _ => tensor(data.ToInt64s(), shape),
        };
        return values.MoveToOuterDisposeScope();
    }

    /// <summary>A copy of the values: bfloat16 and float32 as F32, int64 as I64, bytes as U8, booleans as BOOL.</summary>
    public static TensorData ToTensorData(this Tensor tensor)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor full = tensor.detach();
        Tensor local = full.to(full.dtype is ScalarType.BFloat16 or ScalarType.Float16 ? ScalarType.Float32 : full.dtype).to(CPU).contiguous();
        return new(local.ToDType(), local.shape, local.bytes.ToArray());
    }

    /// <summary>The type that <see cref="ToTensorData"/> stores the tensor as.</summary>
    public static DType ToDType(this Tensor tensor) => tensor.dtype switch
    {
        ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 => DType.F32,
        ScalarType.Float64 => DType.F64,
        ScalarType.Int64 => DType.I64,
        ScalarType.Byte => DType.U8,
        ScalarType.Bool => DType.BOOL,
        _ => throw new NotSupportedException($"a tensor of {tensor.dtype} cannot be stored."),
    };

    /// <summary>The values of a float tensor, in row-major order.</summary>
    public static float[] ToSingles(this Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.ToTensorData().Bytes.Span).ToArray();
}
