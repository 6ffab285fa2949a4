using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A model that looks at a picture and a text together.</summary>
public interface IPairDefinition : IModelDefinition
{
    /// <summary>Takes <c>pixel_values</c> and <c>input_ids</c> of B pairs; gives <c>itm_logits</c> [B, 2] (no, yes: do the two
    /// belong together) and <c>image_embeds</c> and <c>text_embeds</c> [B, E], of length 1. Null where the model, as it is
    /// configured, only compares embeddings.</summary>
    IProgram? Pair { get; }

    /// <summary>The same, and <c>cross_attentions</c> [B, layers, L, tokens of the picture]: where each token of the text looks, the mean
    /// over heads; rows sum to 1. The first of the picture's tokens is its class token, the others are its patches row by row.
    /// Null where the model has no such maps.</summary>
    IProgram? AttentionMaps { get; }
}

/// <summary>Outputs that such models share.</summary>
static class PairOutputs
{
    /// <summary>Maps of the layers, [B, L, N] each -> [B, layers, L, N].</summary>
    public static T Stack<T>(ITensorOps<T> ops, IEnumerable<T> maps) where T : class =>
        ops.Concat(1, [.. maps.Select(m => ops.Rearrange(m, "b (a l) n -> b a l n", ("a", 1)))]);
}
