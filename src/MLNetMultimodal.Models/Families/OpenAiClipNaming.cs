using System.Globalization;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Families;

/// <summary>The weight names of openai/CLIP and OpenCLIP, seen as those of Hugging Face's <c>CLIPModel</c>: packed projections
/// are cut into
/// windows without copying, the two output projections are transposed.</summary>
static class OpenAiClipNaming
{
    public static bool Matches(IReadOnlyDictionary<string, TensorData> weights) =>
        weights.ContainsKey("visual.proj") && weights.ContainsKey("text_projection") && weights.ContainsKey("token_embedding.weight");

    public static IReadOnlyDictionary<string, TensorData> ToPublished(ClipConfig c, IReadOnlyDictionary<string, TensorData> weights)
    {
        var result = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        foreach (var (name, tensor) in weights)
        {
            if (name is "input_resolution" or "context_length" or "vocab_size") continue; // sizes that the original state dict carries
            foreach (var (published, value) in Rename(name, tensor)) result[published] = value;
        }
        return result;
    }

    static IEnumerable<(string, TensorData)> Rename(string name, TensorData tensor)
    {
        switch (name)
        {
            case "logit_scale": return [(name, tensor)];
            case "visual.proj": return [("visual_projection.weight", Transpose(tensor))];
            case "text_projection": return [("text_projection.weight", Transpose(tensor))];
            case "visual.class_embedding": return [("vision_model.embeddings.class_embedding", tensor)];
            case "visual.positional_embedding": return [("vision_model.embeddings.position_embedding.weight", tensor)];
            case "positional_embedding": return [("text_model.embeddings.position_embedding.weight", tensor)];
            case "token_embedding.weight": return [("text_model.embeddings.token_embedding.weight", tensor)];
            case "visual.conv1.weight": return [("vision_model.embeddings.patch_embedding.weight", tensor)];
        }
        string[] parts = name.Split('.');
        string tower = parts[0] == "visual" ? "vision_model" : "text_model";
        if (parts[0] == "visual") parts = parts[1..];
        return parts switch
        {
            ["ln_pre", var w] => [($"{tower}.pre_layrnorm.{w}", tensor)],
            ["ln_post", var w] => [($"{tower}.post_layernorm.{w}", tensor)],
            ["ln_final", var w] => [($"{tower}.final_layer_norm.{w}", tensor)],
            ["transformer", "resblocks", var i, .. var rest] when int.TryParse(i, NumberStyles.None, CultureInfo.InvariantCulture, out _) =>
                RenameBlock($"{tower}.encoder.layers.{i}", rest, tensor, name),
            _ => [(name, tensor)],
        };
    }

    static IEnumerable<(string, TensorData)> RenameBlock(string layer, string[] rest, TensorData tensor, string name) => rest switch
    {
        ["ln_1", var w] => [($"{layer}.layer_norm1.{w}", tensor)],
        ["ln_2", var w] => [($"{layer}.layer_norm2.{w}", tensor)],
        ["mlp", "c_fc", var w] => [($"{layer}.mlp.fc1.{w}", tensor)],
        ["mlp", "c_proj", var w] => [($"{layer}.mlp.fc2.{w}", tensor)],
        ["attn", "out_proj", var w] => [($"{layer}.self_attn.out_proj.{w}", tensor)],
        ["attn", "in_proj_weight"] => Split(layer, "weight", tensor),
        ["attn", "in_proj_bias"] => Split(layer, "bias", tensor),
        _ => [(name, tensor)],
    };

    static IEnumerable<(string, TensorData)> Split(string layer, string kind, TensorData packed)
    {
        if (packed.Shape.Count == 0 || packed.Shape[0] % 3 != 0) return [($"{layer}.self_attn.in_proj_{kind}", packed)];
        string[] parts = ["q_proj", "k_proj", "v_proj"];
        long[] shape = [packed.Shape[0] / 3, .. packed.Shape.Skip(1)];
        int size = packed.Bytes.Length / 3;
        return parts.Select((p, i) => ($"{layer}.self_attn.{p}.{kind}", new TensorData(packed.Type, shape, packed.Bytes.Slice(i * size, size))));
    }

    static TensorData Transpose(TensorData matrix)
    {
        if (matrix.Shape is not [var rows, var columns]) return matrix;
        float[] from = matrix.ToSingles();
        var to = new float[from.Length];
        for (long r = 0; r < rows; r++)
            for (long c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
        return TensorData.From(to, columns, rows);
    }
}
