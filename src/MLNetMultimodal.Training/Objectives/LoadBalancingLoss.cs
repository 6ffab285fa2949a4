using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Keeps a router from sending all tokens to few experts.</summary>
public static class LoadBalancingLoss
{
    /// <summary>E times the sum over experts of the part of the tokens that is sent to an expert, times the probability that the
    /// router gives it on average (Fedus et al. 2021, arXiv:2101.03961, section 2.2): 1 where all experts get the same, up to E / k
    /// where k get everything. The gradient flows through the probabilities alone.</summary>
    /// <param name="routerLogits">[B, L, E], finite.</param>
    /// <param name="chosen">k, experts that a token goes through, 1 to E.</param>
    /// <returns>A scalar.</returns>
    public static Tensor Of(Tensor routerLogits, int chosen)
    {
        long experts = routerLogits.shape[^1];
        Tensor probabilities = F.softmax(routerLogits, -1).flatten(0, -2);                              // [B, L, E] -> [N, E]
        Tensor taken = probabilities.detach().topk(chosen, -1).indexes;                                 // [N, k]
        Tensor sent = zeros_like(probabilities).scatter(-1, taken, ones_like(taken, ScalarType.Float32)).mean([0]).Over(chosen); // [E]
        return (sent * probabilities.mean([0])).sum().Times(experts);
    }
}
